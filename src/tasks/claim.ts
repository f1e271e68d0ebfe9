// The claim loop: asks for tasks, one claim in flight at a time. It uses long polls unless the server announces tasks.
import { steadyNow } from "../lib/clock.ts";
import { abortScope } from "../lib/abort-scope.ts";
import { AgentError, messageOf, httpStatusOf } from "../lib/agent-error.ts";
import { backoff, jitter } from "../lib/backoff.ts";
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";
import { type LoopRegistry, type LoopReport, type Wake, loop } from "../lib/loop.ts";
import { mayHaveArrived } from "../control/network-error.ts";
import type { TaskApi } from "../control/noderax-api.ts";
import { pauseAfter, retry } from "../control/retry.ts";
import { type AuthState, isRejected } from "../identity/auth-state.ts";
import type { RootAccess } from "../identity/root-access.ts";
import type { Log } from "../platform/log.ts";
import { CLAIM_WAIT_MAX } from "../protocol/noderax/limits.ts";
import type { ClaimAnswer } from "../protocol/noderax/tasks.ts";
import type { Announcements } from "./announcements.ts";
import type { OpenClaim } from "./journal.ts";
import { TASK_KINDS } from "./kinds/kinds.ts";
import type { Tasks } from "./tasks.ts";

export interface ClaimPorts {
  readonly api: TaskApi;
  readonly tasks: Tasks;
  readonly rootAccess: RootAccess;
  readonly auth: AuthState;
  /** Called when the server is reachable again. */
  readonly wake: Wake;
  readonly registry: LoopRegistry;
  readonly log: Log;
  readonly openClaim: OpenClaim;
  readonly announcements: Announcements;
}

/** Pause after every answer, so that a server that answers without waiting does not make the loop spin. */
const FLOOR = milliseconds(25);
/** An empty answer within this time was no long poll: ask again at the pace of a plain poll. */
const INSTANT = milliseconds(500);
/** Wait for the claim in flight after a stop: a task that is being handed out still arrives. */
const STOP_WAIT = seconds(1);
/** How much longer than requested a server may hold a claim. */
const CLAIM_SLACK = seconds(2);

/**
 * Claims tasks until `stop` aborts. A claim in flight then has 1 s to end, unless `abandon` aborts earlier. On the server
 * it may still take a task, so the next process waits until it is over (`openClaim`). `wait` is the requested length of the
 * long poll.
 */
export function claimLoop(
  ports: ClaimPorts,
  wait: Duration,
  stop: AbortSignal,
  abandon: AbortSignal,
): Promise<void> {
  const { api, tasks, rootAccess, auth, registry, log, openClaim, announcements } = ports;
  const claims = abortScope([abandon]);
  stop.addEventListener("abort", () => setTimeout(() => claims.abort(), STOP_WAIT).unref(), {
    once: true,
  });
  let silent = false;
  let emptyBefore = false;
  return loop(
    { name: "claim", every: FLOOR, retry: retry.claim, onError, wake: ports.wake },
    round,
    registry,
    stop,
  );

  async function round(_: AbortSignal, report: LoopReport): Promise<Duration> {
    if (!silent) await awaitAnnouncement(report);
    if (stop.aborted) return 0;
    const left = (openClaim.read() ?? -Infinity) - steadyNow();
    // Further ahead than a claim can last: written in an earlier boot, and the clock was set back since.
    if (left > 0 && left <= CLAIM_WAIT_MAX + CLAIM_SLACK) {
      report.note("waiting until an unanswered claim is over on the server");
      return left;
    }
    const obstacle = tasks.obstacle();
    if (obstacle !== undefined) {
      report.note(obstacle);
      return seconds(1);
    }
    const begun = steadyNow();
    // After a failure ask without waiting: the answer shows at once that the server is back.
    const pollLength = silent || announcements.listening ? 0 : wait;
    report.note(pollLength === 0 ? "asking for a task" : "waiting for a task");
    const due = announcements.claims();
    openClaim.write(begun + Math.min(pollLength, CLAIM_WAIT_MAX) + CLAIM_SLACK);
    const answer = await claim(pollLength);
    accepted();
    if (answer.rootAccess !== undefined) rootAccess.desire(answer.rootAccess);
    // Write the task first: a crash between these lines must not lose it.
    if (answer.task !== null) tasks.accept(answer.task);
    openClaim.write(undefined);
    announcements.answered(answer.task?.id, due);
    const isEmpty = answer.task === null && steadyNow() - begun < Math.min(INSTANT, wait);
    // One empty answer ends each series of announced tasks. A second one in a row means that the announcements are wrong.
    const isUseless = isEmpty && (!announcements.listening || (due && emptyBefore));
    emptyBefore = isEmpty;
    return jitter(isUseless ? INSTANT : FLOOR, 0.5, Math.random);
  }

  async function awaitAnnouncement(report: LoopReport): Promise<void> {
    const interval = Math.min(wait, CLAIM_WAIT_MAX);
    if (announcements.listening) report.note("waiting for the server to announce a task");
    report.waitsUntil(steadyNow() + interval);
    await announcements.untilDue(interval, stop);
    report.waitsUntil(undefined);
  }

  async function claim(pollLength: Duration): Promise<ClaimAnswer> {
    try {
      return await api.claim(
        pollLength,
        { capabilities: TASK_KINDS.map(({ type }) => type), rootAccess: rootAccess.report() },
        claims.signal,
      );
    } catch (error) {
      // A claim that never arrived, or was answered, is not waiting on the server.
      if (!mayHaveArrived(error) || httpStatusOf(error) !== undefined) openClaim.write(undefined);
      if (httpStatusOf(error) === 401) await auth.doubted(claims.signal);
      throw error;
    }
  }

  function accepted(): void {
    auth.accepted("task");
    if (!silent) return;
    silent = false;
    // Only after a failure: loops that pause while claims succeed have failures of their own.
    ports.wake.call();
    log.info("claim", "the control plane answers again");
  }

  function onError(error: unknown, report: LoopReport): Duration {
    const { consecutiveFailures: failures } = report.record;
    // Errors without a code, such as a full disk, do not mean that the control plane is unreachable.
    const ours = !(error instanceof AgentError);
    silent ||= !ours;
    if (failures === 1) log.warn("claim", messageOf(error));
    const standing = auth.status();
    const rejected = isRejected(standing);
    const policy = rejected ? retry.refused : retry.claim;
    report.note(
      rejected
        ? `${standing} by the control plane; asking again now and then`
        : `${ours ? "failed" : "no answer"}: ${messageOf(error)}`,
    );
    return pauseAfter(error, backoff(policy, failures, Math.random));
  }
}
