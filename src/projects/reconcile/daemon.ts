// Keeps the connection to Docker in one loop: connects, takes a snapshot, listens to events. All workers wait for it.
//
//   unreachable ── info, a first snapshot ──▶ up ── events end, a snapshot or a step fails ──▶ unreachable, with a backoff
import { orAborted } from "../../lib/until.ts";
import { type AbortScope, abortScope } from "../../lib/abort-scope.ts";
import { AgentError, messageOf, hasCode } from "../../lib/agent-error.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import { type LoopRegistry, loop } from "../../lib/loop.ts";
import { retry } from "../../control/retry.ts";
import type { Log } from "../../platform/log.ts";
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";
import type { Engine, EngineEvent, EngineInfo } from "../plan/engine.ts";
import type { Snapshots } from "./snapshots.ts";

/** Whether the error says that Docker as a whole cannot be used, and so nothing about the object of the call. */
export const isUnreachable = (error: unknown): boolean =>
  hasCode(error, "docker.away", "docker.forbidden", "docker.version");

export interface Daemon {
  /** Undefined while Docker cannot be reached. */
  info(): EngineInfo | undefined;
  /** Why it cannot be reached; undefined while it can, or before the first try. */
  problem(): string | undefined;
  /** For how long it has been unreachable; 0 while it can be reached. */
  unreachableFor(): Duration;
  /** Whether it was reached since the agent started. */
  wasReached(): boolean;
  /** Resolves when it can be reached, or `signal` aborted. */
  ready(signal: AbortSignal): Promise<void>;
  /** A call failed with this error: connects again. */
  lost(error: unknown): void;
  /** To be called in the turn in which the daemon is started. */
  subscribe(listener: DaemonListener): void;
  readonly done: Promise<void>;
}

export interface DaemonListener {
  readonly onEvent: (event: EngineEvent) => void;
  /** Docker can be reached again: changes since then were not reported by events. */
  readonly onUp: () => void;
}

export interface DaemonPorts {
  readonly engine: Pick<Engine, "info" | "events">;
  readonly snapshots: Snapshots;
  readonly registry: LoopRegistry;
  readonly log: Log;
}

/** An event stream that ends sooner is a failure, not a restart of Docker. */
const SHORT: Duration = seconds(5);

/** Connects to the Docker daemon, again after each loss, and follows its events until `signal` aborts. */
export function startDaemon(ports: DaemonPorts, signal: AbortSignal): Daemon {
  const { engine, snapshots, registry, log } = ports;
  const listeners: DaemonListener[] = [];
  let info: EngineInfo | undefined;
  let problem: string | undefined;
  let downSince: SteadyTime | undefined = steadyNow();
  let up = Promise.withResolvers<void>();
  let round: AbortScope | undefined;
  let wasReached = false;

  function down(): void {
    info = undefined;
    downSince ??= steadyNow();
    up = Promise.withResolvers();
  }

  async function connect(signal: AbortSignal): Promise<EngineInfo> {
    const found = await engine.info(signal);
    // Some daemons answer `info` and refuse the lists while they start.
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
        if (text !== problem) log.warn("docker", text);
        problem = text;
      },
    },
    async (signal, report) => {
      using scope = abortScope([signal]);
      round = scope;
      report.note("connecting");
      const found = await connect(scope.signal);
      if (!wasReached || problem !== undefined)
        log.info("docker", `Engine ${found.version}, API ${found.apiVersion}`);
      wasReached = true;
      info = found;
      problem = undefined;
      downSince = undefined;
      report.note(`Engine ${found.version}`);
      report.works();
      const since = steadyNow();
      up.resolve();
      try {
        const events = engine.events((event) => {
          for (const { onEvent } of listeners) onEvent(event);
        }, scope.signal);
        for (const { onUp } of listeners) onUp();
        await events;
      } catch (error) {
        throw scope.signal.aborted ? scope.signal.reason : error;
      } finally {
        down();
        report.note("unreachable");
      }
      scope.signal.throwIfAborted();
      if (steadyNow() - since < SHORT) throw new AgentError("docker.away", "Docker's event stream ended");
    },
    registry,
    signal,
  );

  return {
    info: () => info,
    problem: () => problem,
    wasReached: () => wasReached,
    unreachableFor: () => (downSince === undefined ? 0 : steadyNow() - downSince),
    async ready(signal) {
      if (info === undefined) await orAborted(up.promise, signal);
    },
    lost(error) {
      if (info !== undefined) round?.abort(error);
    },
    subscribe: (listener) => void listeners.push(listener),
    done,
  };
}
