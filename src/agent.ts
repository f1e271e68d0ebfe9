// The composition root: builds the agent's parts from its settings, starts the loops in order and stops them again.
import { dirname, join } from "node:path";
import { AgentError, exit } from "./lib/agent-error.ts";
import type { Duration } from "./lib/duration.ts";
import { LoopRegistry } from "./lib/loop.ts";
import { createSlots } from "./lib/slots.ts";
import type { Settings } from "./config/options.ts";
import { createHttp } from "./control/http.ts";
import { publicApi, taskApi, withoutApiPrefix } from "./control/noderax-api.ts";
import { type Outbox, createOutbox, outboxMigration } from "./control/outbox.ts";
import { trustedAuthorities } from "./control/trust.ts";
import { type AuthState, createAuthState } from "./identity/auth-state.ts";
import { awaitIdentity } from "./identity/await-identity.ts";
import { beat, heartbeats } from "./identity/heartbeat.ts";
import type { Identity } from "./identity/identity-file.ts";
import { type RootAccess, createRootAccess, rootAccessMigration } from "./identity/root-access.ts";
import { secureState } from "./identity/state-ownership.ts";
import { serveStatus } from "./ops/control-socket.ts";
import type { Status } from "./ops/status.ts";
import { type Account, currentAccount, findAccount, isRoot, runnerFor } from "./platform/account.ts";
import { version } from "./platform/build.ts";
import { openDatabase } from "./platform/database.ts";
import { readHost } from "./platform/host.ts";
import type { Log } from "./platform/log.ts";
import { claimLoop } from "./tasks/claim.ts";
import { createJournal, createOpenClaim, journalMigration } from "./tasks/journal.ts";
import { sweepLoop } from "./tasks/sweep.ts";
import { type Tasks, createTasks } from "./tasks/tasks.ts";

/** All files of the agent lie beside its identity. */
export const stateDirectory = (settings: Pick<Settings, "state_file">): string =>
  dirname(settings.state_file);
export const databasePath = (directory: string): string => join(directory, "state.db");
export const runsPath = (directory: string): string => join(directory, "tasks");
const MIGRATIONS = [outboxMigration, journalMigration, rootAccessMigration];

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
  const account = taskAccount(settings, log);
  const caution = [...warnings, ...account.warnings, ...secureState(settings.state_file, account.task, log)];
  let plane: Plane | undefined;

  const apiUrl = withoutApiPrefix(settings.api_url);
  const http = createHttp({
    baseUrl: apiUrl,
    authorities: () => trustedAuthorities(settings.api_tls_ca_file),
  });
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
    plane = startPlane(identity);
    await plane.done;
  }

  function startPlane(identity: Identity): Plane {
    const tasksApi = taskApi(http, identity, settings.request_timeout);
    const sendBeat = (signal: AbortSignal): Promise<void> => beat(api, identity, host, signal);
    const auth = createAuthState(sendBeat, log);
    const journal = createJournal(database);
    const outbox = createOutbox(database);
    const rootAccess = createRootAccess(database, rootRefusal(settings));
    const tasks = createTasks(
      {
        journal,
        outbox,
        api: tasksApi,
        slots: createSlots(settings.max_parallel_tasks),
        rootAccess,
        log,
        runs: runsPath(directory),
        runners: { task: runnerFor(account.task), root: runnerFor(currentAccount()) },
        settings: {
          timeout: settings.task_timeout,
          grace: settings.task_kill_grace,
          outputLimit: settings.task_output_limit,
        },
      },
      abandon.signal,
    );
    tasks.resume();
    log.info("agent", `node ${identity.nodeId} at ${apiUrl}`, { version });
    const ports = {
      api: tasksApi,
      tasks,
      rootAccess,
      auth,
      outbox,
      registry,
      log,
      openClaim: createOpenClaim(database),
    };
    const claiming = claimLoop(ports, settings.task_poll_interval, stop.signal, abandon.signal);
    const limits = { age: settings.task_log_retention, bytes: settings.task_log_max_size };
    const done = Promise.all([
      claiming,
      heartbeats({ beat: sendBeat, auth, registry, log }, settings.heartbeat_interval, stop.signal),
      sweepLoop({ journal, runs: runsPath(directory), registry }, limits, stop.signal),
    ]);
    return { identity, auth, outbox, tasks, rootAccess, claiming, done };
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
        // First no task comes in any more, then what is owed goes out.
        await plane?.claiming;
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

/** The loops of the Noderax plane, once there is an identity. */
interface Plane {
  readonly identity: Identity;
  readonly auth: AuthState;
  readonly outbox: Outbox;
  readonly tasks: Tasks;
  readonly rootAccess: RootAccess;
  readonly claiming: Promise<void>;
  readonly done: Promise<unknown>;
}

const isoOrNull = (time: number | undefined): string | null =>
  time === undefined ? null : new Date(time).toISOString();

/** Why no task is run as root on this machine, if so. */
function rootRefusal(settings: Settings): string | undefined {
  if (!isRoot()) return `the agent runs as ${currentAccount().name}, not as root`;
  if (!settings.allow_root_tasks) return "the owner of this machine forbids root tasks (allow_root_tasks)";
  return undefined;
}

/** Whom tasks run as: a root agent never runs them as root by itself. */
function taskAccount(settings: Settings, log: Log): { task: Account; warnings: string[] } {
  if (!isRoot()) return { task: currentAccount(), warnings: [] };
  const wanted = findAccount(settings.task_user);
  if (wanted !== undefined) return { task: wanted, warnings: [] };
  const nobody = findAccount("nobody");
  if (nobody === undefined) {
    throw new AgentError(
      "config.task_user",
      `task_user: there is no user "${settings.task_user}" on this machine`,
      {
        hint: `Create it:  useradd --system --create-home ${settings.task_user}`,
        exit: exit.usage,
      },
    );
  }
  const text = `user ${settings.task_user} does not exist, tasks run as nobody; create it with: useradd --system --create-home ${settings.task_user}`;
  log.warn("agent", text);
  return { task: nobody, warnings: [text] };
}
