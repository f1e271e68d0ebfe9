// Timings of the Caravanserai server. The agent depends on them, and the sandbox keeps them.
import { minutes, seconds } from "../../lib/duration.ts";

/** A node whose last heartbeat is older becomes NotReady at the next check of the server. */
export const NODE_SILENCE_LIMIT = seconds(90);
export const NODE_CHECK_INTERVAL = seconds(30);
/** Running projects of a NotReady node go back to Pending after this; Scheduled ones at once. */
export const RESCHEDULE_GRACE = minutes(3);
/** A project that is Terminating for longer is forced to Terminated, whatever the node does. */
export const TERMINATING_LIMIT = minutes(10);
/** Allocatable share below which the server shows pressure: disk, memory. */
export const DISK_PRESSURE_BELOW = 0.15;
export const MEMORY_PRESSURE_BELOW = 0.1;
