// The server-side clocks of the real control plane, each with its default; tests and demos shorten them.
import { MIB } from "../lib/size.ts";
import { type Duration, milliseconds, minutes, seconds } from "../lib/duration.ts";
import {
  NODE_CHECK_INTERVAL,
  NODE_SILENCE_LIMIT,
  RESCHEDULE_GRACE,
  TERMINATING_LIMIT,
} from "../protocol/caravanserai/limits.ts";
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
  /** A waiting claim polls for work at this interval. */
  claimStep: Duration;
  /** Between a claim's read and its write: parallel claims of one node may get the same task in here. */
  claimRaceWindow: Duration;
  /** Between a log call's read and its write of the whole task: changes in between are overwritten. */
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
  /** Requests allowed a window, address and route. Not a time, but changed for the same reasons. */
  throttleLimit: number;
  /** A realtime frame waits up to this before it is handled, and those that wait together are shuffled; 0 is none. */
  frameRaceWindow: Duration;
  /** How long the database work of an `agent.auth` takes: other events within it find no authenticated socket. */
  authWindow: Duration;
  /** An authenticated socket that is silent for this long is dropped, at the next check. */
  pingTimeout: Duration;
  pingCheck: Duration;
  /** Engine.IO's own ping, which finds dead connections. A change holds for sockets that connect after it. */
  enginePingInterval: Duration;
  enginePingTimeout: Duration;
  /** From the creation of a terminal to `terminal.opened`. */
  terminalOpenLimit: Duration;
  /** From `terminal.stop` to `terminal.exited`. */
  terminalStopLimit: Duration;
  /** A terminal goes on this long after its last viewer left. */
  terminalDetachGrace: Duration;
  /** Bytes of a terminal's transcript: input, output and system together. */
  transcriptLimit: number;
  /** Interval of the scheduler over all projects; it also runs at once after a change. */
  projectPass: Duration;
  /** A Caravanserai node whose last heartbeat is older is NotReady, at the next check. */
  nodeSilence: Duration;
  nodeCheck: Duration;
  /** Running projects of a lost node are moved after this; Scheduled ones at once. */
  rescheduleGrace: Duration;
  /** A project that is Terminating for longer is forced to Terminated. */
  terminatingLimit: Duration;
  /** A Terminated project is removed after this. */
  terminatedLife: Duration;
  /** A target of a roll-out fails when its agent does not begin, does not come back, or stays in any other step. */
  updateDispatchLimit: Duration;
  updateReconnectLimit: Duration;
  updateStepLimit: Duration;
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
  frameRaceWindow: milliseconds(2),
  authWindow: milliseconds(2),
  pingTimeout: seconds(45),
  pingCheck: seconds(5),
  enginePingInterval: seconds(25),
  enginePingTimeout: seconds(20),
  terminalOpenLimit: seconds(15),
  terminalStopLimit: seconds(10),
  terminalDetachGrace: minutes(5),
  transcriptLimit: 10 * MIB,
  projectPass: seconds(1),
  nodeSilence: NODE_SILENCE_LIMIT,
  nodeCheck: NODE_CHECK_INTERVAL,
  rescheduleGrace: RESCHEDULE_GRACE,
  terminatingLimit: TERMINATING_LIMIT,
  terminatedLife: minutes(1),
  updateDispatchLimit: minutes(2),
  updateReconnectLimit: minutes(5),
  updateStepLimit: minutes(15),
};
