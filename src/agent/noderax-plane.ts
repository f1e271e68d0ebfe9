// The Noderax plane of an enrolled node: builds its parts and runs its loops until it is stopped.
import type { Database } from "bun:sqlite";
import { abortScope } from "../lib/abort-scope.ts";
import type { Duration } from "../lib/duration.ts";
import { type LoopRegistry, Wake } from "../lib/loop.ts";
import { createSlots } from "../lib/slots.ts";
import type { Settings } from "../config/options.ts";
import type { Http } from "../control/http.ts";
import { type PublicApi, taskApi } from "../control/noderax-api.ts";
import { type Outbox, createOutbox } from "../control/outbox.ts";
import { type AuthState, createAuthState, isRejected } from "../identity/auth-state.ts";
import { beat, heartbeats } from "../identity/heartbeat.ts";
import type { Identity } from "../identity/identity-file.ts";
import { awaitLocation, locationPorts } from "../identity/location/location.ts";
import { type LocationReport, createLocationReport } from "../identity/location/report.ts";
import { type RootAccess, createRootAccess } from "../identity/root-access.ts";
import type { Account } from "../platform/account.ts";
import type { DiskReserve } from "../platform/disk-reserve.ts";
import type { Host } from "../platform/host.ts";
import type { Log } from "../platform/log.ts";
import type { HeldDirectory } from "../platform/private-directory.ts";
import type { ServiceRun } from "../platform/service.ts";
import { metricsLoop } from "../metrics/report.ts";
import { createSampler } from "../metrics/sampler.ts";
import { endpointCheck } from "../realtime/check.ts";
import { type RealtimeSession, createSession } from "../realtime/session.ts";
import { socketIo } from "../realtime/transport.ts";
import { Announcements } from "../tasks/announcements.ts";
import { claimLoop } from "../tasks/claim.ts";
import { createJournal, createOpenClaim } from "../tasks/journal.ts";
import { TASK_KINDS } from "../tasks/kinds/kinds.ts";
import { makeRoom, sweepLoop } from "../tasks/sweep.ts";
import { type Tasks, createTasks } from "../tasks/tasks.ts";
import { createTurns } from "../tasks/turns.ts";
import { type Terminals, createTerminals, endStaleSessions } from "../terminal/terminals.ts";
import { rootVetoes } from "./accounts.ts";
import { type Protection, createProtection } from "./protection.ts";

export interface NoderaxPorts {
  readonly settings: Settings;
  readonly identity: Identity;
  readonly host: Host;
  readonly apiUrl: string;
  readonly http: Http;
  readonly api: PublicApi;
  /** PEM of all trusted authorities. */
  readonly authorities: () => string;
  readonly database: Database;
  /** The agent's service, where its stop ends the tasks too. */
  readonly service: ServiceRun | undefined;
  /** Directory of the run directories of tasks. */
  readonly runs: string;
  readonly held: HeldDirectory;
  /** The account of tasks and terminals without root. */
  readonly account: Account;
  readonly registry: LoopRegistry;
  readonly disk: DiskReserve;
  readonly log: Log;
}

export interface NoderaxPlane {
  readonly identity: Identity;
  readonly auth: AuthState;
  readonly outbox: Outbox;
  readonly tasks: Tasks;
  readonly rootAccess: RootAccess;
  readonly location: LocationReport;
  readonly protection: Protection;
  /** Undefined when the owner switched the realtime session off. */
  readonly realtime: { readonly session: RealtimeSession; readonly terminals: Terminals } | undefined;
  /** Ends the terminals, reports their end and closes the session, within `grace`. Never rejects. */
  hangUp(grace: Duration): Promise<void>;
  /** Removes the output of finished tasks while the disk is full. Returns of how many. */
  makeRoom(): number;
  /** Resolves when no task can be claimed any more. */
  readonly claiming: Promise<void>;
  /** Resolves when every loop has ended. */
  readonly done: Promise<unknown>;
}

/**
 * Takes up tasks and terminals of an earlier process, then starts the loops. `stop` ends all loops except the
 * session, which `hangUp` ends; `abandon` also aborts their calls in flight.
 */
export function startNoderaxPlane(
  ports: NoderaxPorts,
  stop: AbortSignal,
  abandon: AbortSignal,
): NoderaxPlane {
  const { settings, identity, host, api, database, runs, registry, log } = ports;
  const tasksApi = taskApi(ports.http, identity, settings.request_timeout);
  const sendBeat = (signal: AbortSignal): Promise<void> => beat(api, identity, host, signal);
  const journal = createJournal(database);
  const outbox = createOutbox(database);
  // The first loop that reaches the server again ends the pauses of the others.
  const wake = new Wake(() => outbox.nudge());
  const auth = createAuthState(sendBeat, log, () => wake.call());
  const rootAccess = createRootAccess({
    database,
    vetoes: rootVetoes(settings),
    serverClock: tasksApi.serverClock,
    log,
  });
  const location = createLocationReport(database, ports.apiUrl, () =>
    log.info("session", "the location of this node is not reported: this control plane does not take it"),
  );
  const protection = createProtection(settings, ports.account);
  const tasks = createTasks(
    {
      kinds: TASK_KINDS,
      journal,
      outbox,
      api: tasksApi,
      slots: createSlots(settings.max_parallel_tasks),
      workSlots: createSlots(settings.max_parallel_tasks),
      turns: createTurns(),
      rootAccess,
      log,
      disk: ports.disk,
      runs,
      runners: protection.taskRunners,
      view: protection.view,
      openFiles: protection.openFiles,
      service: ports.service,
      held: ports.held,
      settings,
    },
    abandon,
  );
  tasks.resume();
  const announcements = new Announcements();
  const claimPorts = {
    api: tasksApi,
    tasks,
    rootAccess,
    auth,
    wake,
    registry,
    log,
    openClaim: createOpenClaim(database),
    announcements,
  };
  const claiming = claimLoop(claimPorts, settings.task_poll_interval, stop, abandon);
  const realtime = settings.realtime_enabled ? openRealtime() : undefined;
  const session = realtime?.session;
  const cleared = realtime ?? endStaleSessions({ database, log, grace: settings.terminal_kill_grace });
  // A session from before proves nothing about a token that other routes refuse: then heartbeats are sent,
  // too.
  const keptOnline = (): boolean =>
    !isRejected(auth.status()) && session?.keepsOnline(settings.heartbeat_interval) === true;
  const hungUp = abortScope([abandon]);
  const sampler = createSampler();
  void locate();
  const done = Promise.all([
    claiming,
    session?.run(hungUp.signal),
    heartbeats({ beat: sendBeat, keptOnline, auth, wake, registry, log }, settings.heartbeat_interval, stop),
    metricsLoop({ channel: session, api, identity, sampler, registry, log }, settings.metrics_interval, stop),
    sweepLoop({ journal, runs, registry }, settings, stop),
    cleared,
  ]);

  async function locate(): Promise<void> {
    const found = await awaitLocation(settings, locationPorts(ports.authorities), stop);
    if (found !== undefined) location.found(found);
  }

  function openRealtime(): { session: RealtimeSession; terminals: Terminals } {
    const endpoint = {
      apiUrl: ports.apiUrl,
      path: settings.realtime_path,
      namespace: settings.realtime_namespace,
      authorities: ports.authorities,
    };
    const session = createSession({
      open: socketIo(endpoint, settings.request_timeout),
      check: endpointCheck(endpoint, settings.request_timeout),
      identity,
      host,
      auth,
      rootAccess,
      location,
      wake,
      registry,
      log,
      settings,
    });
    const terminals = createTerminals({
      channel: session,
      database,
      rootAccess,
      runners: protection.terminalRunners,
      view: protection.view,
      openFiles: protection.openFiles,
      log,
      settings,
    });
    terminals.resume();
    session.on("task.dispatch", (body) => announcements.received(body));
    session.onOffline(() => announcements.sessionEnded());
    return { session, terminals };
  }

  return {
    identity,
    auth,
    outbox,
    tasks,
    rootAccess,
    location,
    protection,
    realtime,
    async hangUp(grace) {
      await realtime?.terminals.stop(grace);
      hungUp.abort();
    },
    makeRoom: () => makeRoom({ journal, runs }, ports.disk),
    claiming,
    done,
  };
}
