// Limits of the control plane, measured on the real server. Agent and sandbox both use these numbers.
import { minutes, seconds } from "../../lib/duration.ts";

/** One log row: 1 to 5000 Unicode code points, newlines allowed, no NUL. One row a request. */
export const LOG_LINE_MAX = 5_000;
/** Operators see the first 100 rows of a task; there is no offset. */
export const LOG_ROWS_VISIBLE = 100;
/** `output` of a completion: more code points than this are refused with 400 … */
export const OUTPUT_REFUSED_ABOVE = 200_000;
/** … and of what is accepted only the first 8000 UTF-16 units are kept. */
export const OUTPUT_KEPT = 8_000;
/** `error` of a completion, in code points; more is refused with 400. */
export const ERROR_MAX = 10_000;

/** `waitMs` of a claim is clamped to 0 … this. The server checks for a task every 500 ms meanwhile. */
export const CLAIM_WAIT_MAX = seconds(30);
/**
 * A claimed task that is not started within this time may be handed out again. The lease cannot be renewed.
 */
export const CLAIM_LEASE = seconds(60);
/** A queued task older than this (counted from its creation) is failed by the server. */
export const QUEUED_LIMIT = minutes(2);
/** A running task older than this (counted from `started`) is failed by the server, whatever is reported. */
export const RUNNING_LIMIT = minutes(30);
/** No heartbeat or metrics for this long: the node is shown offline. */
export const ONLINE_LIMIT = seconds(90);
/** Time-to-live of enrollment tokens. */
export const ENROLLMENT_LIFE = minutes(15);
/** Requests a minute, per client address and route, on every route but the tasks'. */
export const THROTTLE_PER_MINUTE = 100;
