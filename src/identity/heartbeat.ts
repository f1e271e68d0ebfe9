// The sign of life: without one for 90 s the control plane shows the node offline.
import { messageOf } from "../lib/agent-error.ts";
import { backoff } from "../lib/backoff.ts";
import type { Duration } from "../lib/duration.ts";
import { type LoopRegistry, loop } from "../lib/loop.ts";
import type { PublicApi } from "../control/noderax-api.ts";
import { pauseAfter, retry } from "../control/retry.ts";
import { version } from "../platform/build.ts";
import type { Host } from "../platform/host.ts";
import type { Log } from "../platform/log.ts";
import type { AuthState } from "./auth-state.ts";
import type { Identity } from "./identity-file.ts";

/** Sends one heartbeat. All three versions, always: a missing one would be overwritten with nothing. */
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

/** At once, then every `every`; on a loop of its own that nothing else can hold up. */
export function heartbeats(
  ports: {
    readonly beat: (signal: AbortSignal) => Promise<void>;
    readonly auth: AuthState;
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
      onError(error, { consecutiveFailures: failures }) {
        if (failures === 1) log.warn("heartbeat", `not delivered: ${messageOf(error)}`);
        return pauseAfter(error, backoff(retry.heartbeat, failures, Math.random));
      },
    },
    async (roundSignal, record) => {
      await ports.beat(roundSignal);
      if (record.consecutiveFailures > 0) log.info("heartbeat", "delivered again");
      auth.accepted("heartbeat");
    },
    registry,
    signal,
  );
}
