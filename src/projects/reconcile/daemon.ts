// Whether Docker is there: one loop that connects, snapshots, and listens to its events; everything else waits for it.
//
//   away ── info, a first snapshot ──▶ up ── events end, a snapshot or a step fails ──▶ away, tried again with a back-off
import { orAborted } from "../../lib/until.ts";
import { type AbortScope, abortScope } from "../../lib/abort-scope.ts";
import { AgentError, messageOf, hasCode } from "../../lib/agent-error.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import { type LoopRegistry, loop } from "../../lib/loop.ts";
import { retry } from "../../control/retry.ts";
import type { Log } from "../../platform/log.ts";
import { steadyNow } from "../../lib/clock.ts";
import type { Engine, EngineEvent, EngineInfo } from "../plan/engine.ts";
import type { Snapshots } from "./snapshots.ts";

/** What is no answer about the thing that was asked for, but about Docker as a whole. */
export const isAway = (error: unknown): boolean =>
  hasCode(error, "docker.away", "docker.forbidden", "docker.version");

export interface Daemon {
  /** Undefined while Docker is away. */
  info(): EngineInfo | undefined;
  /** What keeps it away, in words; undefined while it is there, or before the first try. */
  trouble(): string | undefined;
  /** For how long it has been away; 0 while it is there. */
  away(): Duration;
  /** Whether it has been there in this life. */
  seen(): boolean;
  /** Resolves when it is there, or `signal` aborted. */
  ready(signal: AbortSignal): Promise<void>;
  /** Somebody found it away. */
  lost(error: unknown): void;
  readonly done: Promise<void>;
}

export interface DaemonPorts {
  readonly engine: Pick<Engine, "info" | "events">;
  readonly snapshots: Snapshots;
  readonly onEvent: (event: EngineEvent) => void;
  /** Docker is there again: whatever happened meanwhile went unnoticed. */
  readonly onUp: () => void;
  readonly registry: LoopRegistry;
  readonly log: Log;
}

/** A stream of events that ends so soon is a failure, not a restart of Docker. */
const SHORT: Duration = seconds(5);

export function startDaemon(ports: DaemonPorts, signal: AbortSignal): Daemon {
  const { engine, snapshots, onEvent, onUp, registry, log } = ports;
  let info: EngineInfo | undefined;
  let trouble: string | undefined;
  let awaySince: number | undefined = steadyNow();
  let up = Promise.withResolvers<void>();
  let round: AbortScope | undefined;
  let announced = false;

  function down(): void {
    info = undefined;
    awaySince ??= steadyNow();
    up = Promise.withResolvers();
  }

  async function connect(signal: AbortSignal): Promise<EngineInfo> {
    const found = await engine.info(signal);
    // A daemon that answers the one and refuses the other is not there yet.
    await snapshots.fresh();
    return found;
  }

  const done = loop(
    {
      name: "docker",
      every: milliseconds(200),
      retry: retry.docker,
      onError(error) {
        const text = messageOf(error);
        if (text !== trouble) log.warn("docker", text);
        trouble = text;
      },
    },
    async (signal, report) => {
      using scope = abortScope([signal]);
      round = scope;
      report.note("connecting");
      const found = await connect(scope.signal);
      if (!announced || trouble !== undefined)
        log.info("docker", `Engine ${found.version}, API ${found.apiVersion}`);
      announced = true;
      info = found;
      trouble = undefined;
      awaySince = undefined;
      report.note(`Engine ${found.version}`);
      report.works();
      const since = steadyNow();
      up.resolve();
      try {
        const events = engine.events(onEvent, scope.signal);
        onUp();
        await events;
      } catch (error) {
        throw scope.signal.aborted ? scope.signal.reason : error;
      } finally {
        down();
        report.note("away");
      }
      scope.signal.throwIfAborted();
      if (steadyNow() - since < SHORT) throw new AgentError("docker.away", "Docker's stream of events ended");
    },
    registry,
    signal,
  );

  return {
    info: () => info,
    trouble: () => trouble,
    seen: () => announced,
    away: () => (awaySince === undefined ? 0 : steadyNow() - awaySince),
    async ready(signal) {
      if (info === undefined) await orAborted(up.promise, signal);
    },
    lost(error) {
      if (info !== undefined) round?.abort(error);
    },
    done,
  };
}
