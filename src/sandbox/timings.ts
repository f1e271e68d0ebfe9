// The server-side clocks of the real control plane, each with its default; tests and demos shorten them.
import { type Duration, milliseconds, minutes, seconds } from "../lib/duration.ts";
import {
  CLAIM_LEASE,
  ENROLLMENT_LIFE,
  ONLINE_LIMIT,
  QUEUED_LIMIT,
  RUNNING_LIMIT,
  THROTTLE_PER_MINUTE,
} from "../protocol/noderax/limits.ts";

export interface Timings {
  /** How long a claimed task waits for `started`. */
  claimLease: Duration;
  /** A waiting claim looks for work this often. */
  claimStep: Duration;
  /** Between a claim's read and its write: parallel claims of one node may get the same task in here. */
  claimRaceWindow: Duration;
  /** Between a log call's read and its write of the whole task: what lands in between is overwritten. */
  logRaceWindow: Duration;
  /** How often expired leases are requeued and stale tasks failed. */
  sweepInterval: Duration;
  queuedLimit: Duration;
  runningLimit: Duration;
  /** No sign of life for this long: offline, at the next check. */
  heartbeatTimeout: Duration;
  offlineCheck: Duration;
  enrollmentLife: Duration;
  installLife: Duration;
  throttleWindow: Duration;
  /** Requests a window, address and route. Not a time, but turned by the same people for the same reason. */
  throttleLimit: number;
}

export const DEFAULT_TIMINGS: Readonly<Timings> = {
  claimLease: CLAIM_LEASE,
  claimStep: milliseconds(500),
  claimRaceWindow: milliseconds(2),
  logRaceWindow: milliseconds(3),
  sweepInterval: seconds(15),
  queuedLimit: QUEUED_LIMIT,
  runningLimit: RUNNING_LIMIT,
  heartbeatTimeout: ONLINE_LIMIT,
  offlineCheck: seconds(30),
  enrollmentLife: ENROLLMENT_LIFE,
  installLife: minutes(15),
  throttleWindow: minutes(1),
  throttleLimit: THROTTLE_PER_MINUTE,
};
