// The composition root: opens the agent's state, waits for its identity, starts its planes and stops them again.
import { dirname, join } from "node:path";
import { unprivilegedAccount } from "./agent/accounts.ts";
import { type NoderaxPlane, startNoderaxPlane } from "./agent/noderax-plane.ts";
import { type Duration, seconds } from "./lib/duration.ts";
import { LoopRegistry } from "./lib/loop.ts";
import type { Settings } from "./config/options.ts";
import { createHttp } from "./control/http.ts";
import { publicApi, withoutApiPrefix } from "./control/noderax-api.ts";
import { outboxMigration } from "./control/outbox.ts";
import { trustedAuthorities } from "./control/trust.ts";
import { awaitIdentity } from "./identity/await-identity.ts";
import { rootAccessMigration } from "./identity/root-access.ts";
import { secureState } from "./identity/state-ownership.ts";
import { serveStatus } from "./ops/control-socket.ts";
import type { Status } from "./ops/status.ts";
import { version } from "./platform/build.ts";
import { openDatabase } from "./platform/database.ts";
import { readHost } from "./platform/host.ts";
import type { Log } from "./platform/log.ts";
import { journalMigration } from "./tasks/journal.ts";
import { terminalMigration } from "./terminal/ledger.ts";

/** All files of the agent lie beside its identity. */
export const stateDirectory = (settings: Pick<Settings, "state_file">): string =>
  dirname(settings.state_file);
export const databasePath = (directory: string): string => join(directory, "state.db");
export const runsPath = (directory: string): string => join(directory, "tasks");
const MIGRATIONS = [outboxMigration, journalMigration, rootAccessMigration, terminalMigration];
/** A stop does not wait longer for the shells of terminals: whatever of them is left is killed. */
const HANG_UP_LIMIT = seconds(5);

export interface AgentOptions {
  readonly settings: Settings & { readonly api_url: string };
  readonly log: Log;
  readonly warnings: readonly string[];
}

export interface Agent {
  status(): Status;
  /** Resolves after `stop`; rejects when the agent cannot go on, which whoever started it must hear. */
  readonly ended: Promise<void>;
  /** Ends all tasks without a report, for an agent that will not come back; they go on after a mere `stop`. */
  endTasks(): Promise<void>;
  /**
   * Stops claiming, lets the claim in flight end, delivers what is waiting — for `grace` at most. Tasks go on. A second
   * call with a shorter grace cuts the first one short.
   */
  stop(grace: Duration): Promise<void>;
}

/** Resolves when all loops run; without an identity the agent waits for one. Throws when another agent runs here. */
export async function startAgent({ settings, log, warnings }: AgentOptions): Promise<Agent> {
  const directory = stateDirectory(settings);
  const registry = new LoopRegistry();
  const startedAt = Date.now();
  const stop = new AbortController();
  const abandon = new AbortController();
  const { account, warnings: accountWarnings } = unprivilegedAccount(settings, log);
  const caution = [...warnings, ...accountWarnings, ...secureState(settings.state_file, account, log)];
  let plane: NoderaxPlane | undefined;

  const apiUrl = withoutApiPrefix(settings.api_url);
  const authorities = (): string => trustedAuthorities(settings.api_tls_ca_file);
  const http = createHttp({ baseUrl: apiUrl, authorities });
  const api = publicApi(http, settings.request_timeout);
  const host = readHost();

  const socket = await serveStatus(directory, status);
  const database = openOrRelease(directory, socket);
  const running = begin();

  async function begin(): Promise<void> {
    const record = registry.register("enrollment");
    const ports = { settings, api, apiUrl, hostname: host.hostname, record, log };
    const identity = await awaitIdentity(ports, stop.signal);
    if (identity === undefined) return;
    log.info("agent", `node ${identity.nodeId} at ${apiUrl}`, { version });
    const runs = runsPath(directory);
    plane = startNoderaxPlane(
      { settings, identity, host, apiUrl, http, api, authorities, database, runs, account, registry, log },
      stop.signal,
      abandon.signal,
    );
    await plane.done;
  }

  function sessionStatus(): NonNullable<Status["noderax"]>["session"] {
    if (plane?.realtime === undefined) return null;
    const { since, ...state } = plane.realtime.session.state();
    return { ...state, since: new Date(since).toISOString() };
  }

  function status(): Status {
    return {
      version,
      pid: process.pid,
      uptime_seconds: Math.round((Date.now() - startedAt) / 1_000),
      rss_bytes: process.memoryUsage.rss(),
      noderax: {
        api_url: apiUrl,
        node_id: plane?.identity.nodeId ?? null,
        standing: plane?.auth.standing() ?? "not_enrolled",
        since: new Date(plane?.auth.since() ?? startedAt).toISOString(),
        root_profile: plane?.rootAccess.profile() ?? null,
        session: sessionStatus(),
        terminals: (plane?.realtime?.terminals.active() ?? []).map(({ id, account, age, idle, mode }) => ({
          id,
          user: account,
          age_seconds: Math.round(age / 1_000),
          idle_seconds: Math.round(idle / 1_000),
          mode: mode ?? null,
        })),
        tasks: (plane?.tasks.active() ?? []).map(({ id, type, note, age }) => ({
          id,
          type,
          note,
          age_seconds: Math.round(age / 1_000),
        })),
        outbox: {
          waiting: plane?.outbox.state().waiting ?? 0,
          last_error: plane?.outbox.state().lastError ?? null,
        },
      },
      loops: registry.all().map((record) => ({
        name: record.name,
        note: record.note,
        last_success: isoOrNull(record.lastSuccess),
        last_error:
          (record.lastError && {
            at: new Date(record.lastError.at).toISOString(),
            message: record.lastError.message,
          }) ||
          null,
        consecutive_failures: record.consecutiveFailures,
      })),
      warnings: caution,
    };
  }

  return {
    status,
    ended: running,
    endTasks: async () => plane?.tasks.endAll(),
    async stop(grace) {
      const limit = setTimeout(() => abandon.abort(), grace);
      stop.abort();
      try {
        // First no task comes in any more and no terminal is left, then what is owed goes out.
        await Promise.all([plane?.claiming, plane?.hangUp(Math.min(grace, HANG_UP_LIMIT))]);
        await plane?.tasks.reported(abandon.signal);
        await plane?.outbox.flushed(abandon.signal);
        abandon.abort();
        await plane?.tasks.settled();
        await running.catch(() => {}); // Whoever waits for `ended` hears of it.
      } finally {
        clearTimeout(limit);
        socket[Symbol.dispose]();
        database.close();
      }
    },
  };
}

/** A database that cannot be used must not keep the directory locked. */
function openOrRelease(directory: string, socket: Disposable): ReturnType<typeof openDatabase> {
  try {
    return openDatabase(databasePath(directory), MIGRATIONS);
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
}

const isoOrNull = (time: number | undefined): string | null =>
  time === undefined ? null : new Date(time).toISOString();
