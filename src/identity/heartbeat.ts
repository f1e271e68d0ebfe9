// Sends heartbeats over HTTP: without one for 90 s the control plane shows the node offline.
import { messageOf } from "../lib/agent-error.ts";
import { jitter } from "../lib/backoff.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { type LoopRegistry, type Wake, loop } from "../lib/loop.ts";
import type { PublicApi } from "../control/noderax-api.ts";
import { pauseAfter, retry } from "../control/retry.ts";
import { version } from "../platform/build.ts";
import type { Host } from "../platform/host.ts";
import type { Log } from "../platform/log.ts";
import type { AuthState } from "./auth-state.ts";
import type { Identity } from "./identity-file.ts";

/** Sends one heartbeat, always with all three versions: the server replaces a missing one by null. */
export async function beat(
  api: PublicApi,
  identity: Identity,
  host: Host,
  signal: AbortSignal,
): Promise<void> {
  await api.heartbeat(
    {
      nodeId: identity.nodeId,
      agentToken: identity.agentToken,
      agentVersion: version.slice(0, 64),
      platformVersion: host.platformVersion,
      kernelVersion: host.kernelVersion,
      sentAt: new Date().toISOString(),
    },
    signal,
  );
}

/** How often to check whether the session is gone: after its fast retry (0.5 s), long before the 90 s. */
const SESSION_CHECK = seconds(5);

/**
 * Sends a heartbeat now and every `every` until `signal` aborts; never rejects. Sends none while the realtime
 * session keeps the node online: the server accepts 100 a minute from all nodes behind one address.
 */
export function heartbeats(
  ports: {
    readonly beat: (signal: AbortSignal) => Promise<void>;
    /** Whether the session keeps the node online; absent without a session. */
    readonly keptOnline?: () => boolean;
    readonly auth: AuthState;
    /** Called when the server is reached again. */
    readonly wake: Wake;
    readonly registry: LoopRegistry;
    readonly log: Log;
  },
  every: Duration,
  signal: AbortSignal,
): Promise<void> {
  const { auth, registry, log } = ports;
  return loop(
    {
      name: "heartbeat",
      every,
      retry: retry.heartbeat,
      bounded: true,
      wake: ports.wake,
      onError(error, { record: { consecutiveFailures: failures } }, pause) {
        if (failures === 1) log.warn("heartbeat", `not delivered: ${messageOf(error)}`);
        return pauseAfter(error, pause);
      },
    },
    async (roundSignal, report) => {
      if (ports.keptOnline?.() === true) {
        report.note("not needed: the realtime session keeps the node online");
        return jitter(Math.min(every, SESSION_CHECK), 0.2, Math.random);
      }
      report.note("");
      await ports.beat(roundSignal);
      auth.accepted("heartbeat");
      if (report.record.consecutiveFailures > 0) {
        log.info("heartbeat", "delivered again");
        ports.wake.call();
      }
      return undefined;
    },
    registry,
    signal,
  );
}
