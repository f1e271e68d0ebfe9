// The claim loop: one long poll in flight, for as long as the process lives.
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
import type { OpenClaim } from "./journal.ts";
import { CAPABILITIES } from "./run/prepare.ts";
import type { Tasks } from "./tasks.ts";

export interface ClaimPorts {
  readonly api: TaskApi;
  readonly tasks: Tasks;
  readonly rootAccess: RootAccess;
  readonly auth: AuthState;
  /** Called when the server is reached again. */
  readonly wake: Wake;
  readonly registry: LoopRegistry;
  readonly log: Log;
  readonly openClaim: OpenClaim;
}

/** After an answer without delay: spares a server that is mistaken, and ours that would spin. */
const FLOOR = milliseconds(25);
/** An empty answer that came at once is no long poll: ask again at the pace of a poll. */
const INSTANT = milliseconds(500);
/** After a stop, for the claim in flight: a task that is just being handed out still arrives. */
const STOP_PATIENCE = seconds(1);
/** How much longer than it was asked to a server may hold a claim. */
const CLAIM_SLACK = seconds(2);

/**
 * Claims until `stop` aborts. A claim in flight then has a second to end, unless `abandon` aborts before: what is left of
 * it on the server, where it may still take a task, is waited for by the next process (`openClaim`). `wait` is how long the server is asked to wait for a task.
 */
export function claimLoop(
  ports: ClaimPorts,
  wait: Duration,
  stop: AbortSignal,
  abandon: AbortSignal,
): Promise<void> {
  const { api, tasks, rootAccess, auth, registry, log, openClaim } = ports;
  const claims = abortScope([abandon]);
  stop.addEventListener("abort", () => setTimeout(() => claims.abort(), STOP_PATIENCE).unref(), {
    once: true,
  });
  let silent = false;
  return loop(
    { name: "claim", every: FLOOR, retry: retry.claim, onError, wake: ports.wake },
    round,
    registry,
    stop,
  );

  async function round(_: AbortSignal, report: LoopReport): Promise<Duration> {
    const left = (openClaim.read() ?? -Infinity) - steadyNow();
    // One that lies further ahead than a claim can last is of an earlier boot, and the clock was set back since.
    if (left > 0 && left <= CLAIM_WAIT_MAX + CLAIM_SLACK) {
      report.note("waiting until an unanswered claim is over on the server");
      return left;
    }
    const obstacle = tasks.obstacle();
    if (obstacle !== undefined) {
      report.note(obstacle);
      return seconds(1);
    }
    report.note("waiting for a task");
    const begun = steadyNow();
    // A server that was silent is asked for what it has at this moment: its answer says at once that it is back.
    const patience = silent ? 0 : wait;
    openClaim.write(begun + Math.min(patience, CLAIM_WAIT_MAX) + CLAIM_SLACK);
    const answer = await claim(patience);
    accepted();
    if (answer.rootAccess !== undefined) rootAccess.desire(answer.rootAccess);
    // Journalled before the claim is marked as over: in between, a crash must not lose what we were handed.
    if (answer.task !== null) tasks.accept(answer.task);
    openClaim.write(undefined);
    const instant = steadyNow() - begun < Math.min(INSTANT, wait);
    if (answer.task === null && instant) return jitter(INSTANT, 0.5, Math.random);
    return jitter(FLOOR, 0.5, Math.random);
  }

  async function claim(patience: Duration): Promise<ClaimAnswer> {
    try {
      return await api.claim(
        patience,
        { capabilities: [...CAPABILITIES], rootAccess: rootAccess.report() },
        claims.signal,
      );
    } catch (error) {
      // Whoever was certainly not heard, or was answered, is not waiting on the server.
      if (!mayHaveArrived(error) || httpStatusOf(error) !== undefined) openClaim.write(undefined);
      if (httpStatusOf(error) === 401) await auth.doubted(claims.signal);
      throw error;
    }
  }

  function accepted(): void {
    auth.accepted("task");
    if (!silent) return;
    silent = false;
    // Only now: what pauses although claims are answered has a reason of its own, and counts its tries.
    ports.wake.call();
    log.info("claim", "the control plane answers again");
  }

  function onError(error: unknown, report: LoopReport): Duration {
    const { consecutiveFailures: failures } = report.record;
    // A full disk, say, is no silence of the control plane.
    const ours = !(error instanceof AgentError);
    silent ||= !ours;
    if (failures === 1) log.warn("claim", messageOf(error));
    const standing = auth.status();
    const rejected = isRejected(standing);
    const policy = rejected ? retry.refused : retry.claim;
    report.note(
      rejected
        ? `${standing} by the control plane; asking again now and then`
        : `${ours ? "in trouble" : "no answer"}: ${messageOf(error)}`,
    );
    return pauseAfter(error, backoff(policy, failures, Math.random));
  }
}
