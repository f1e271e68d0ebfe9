// Composition root: opens the state, starts the configured planes, and stops them.
import { dirname, join } from "node:path";
import { endingServiceWarning, unprivilegedAccount } from "./accounts.ts";
import { clearTextWarnings } from "./clear-text.ts";
import { AGENT_MIGRATIONS } from "./schema.ts";
import { openState, repairFiles } from "./state.ts";
import { type CaravanseraiPlane, startCaravanseraiPlane } from "./caravanserai-plane.ts";
import { type NoderaxLife, startNoderax } from "./noderax-life.ts";
import { steadyNow } from "../lib/clock.ts";
import type { Duration } from "../lib/duration.ts";
import { type LoopRecord, LoopRegistry } from "../lib/loop.ts";
import type { Plane } from "../config/option.ts";
import type { Settings } from "../config/options.ts";
import { trustedAuthorities } from "../control/trust.ts";
import { secureState } from "../identity/state-ownership.ts";
import { refuseOtherOwnersAgent, serveStatus } from "./control-socket.ts";
import { machineLoops } from "./machine-loops.ts";
import { LOOP_OWNERS, type Status, loopStatus } from "./status.ts";
import { currentAccount } from "../platform/account.ts";
import { version } from "../platform/build.ts";
import { releaseCaches } from "../platform/database.ts";
import { createDiskReserve } from "../platform/disk-reserve.ts";
import { readHost } from "../platform/host.ts";
import type { Log } from "../platform/log.ts";
import { holdDirectory } from "../platform/private-directory.ts";
import { endingService } from "../platform/service.ts";
import type { Engine } from "../projects/plan/engine.ts";
import { nodeName } from "../projects/node/name.ts";
import { launchMode } from "../tasks/run/launch.ts";

/** Returns the directory of all state: the one of the identity file. */
export const stateDirectory = (settings: Pick<Settings, "state_file">): string =>
  dirname(settings.state_file);
/** The places in the state directory: the database, and the parent of the run directories of tasks. */
export const databasePath = (directory: string): string => join(directory, "state.db");
export const runsPath = (directory: string): string => join(directory, "tasks");

export interface AgentOptions {
  readonly settings: Settings;
  /** Default: those whose address is set. */
  readonly planes?: readonly Plane[];
  /** Whether the owner set `node_name`: then it is used unchanged, or refused. */
  readonly nodeNameChosen?: boolean;
  readonly log: Log;
  readonly warnings: readonly string[];
  /** Ends the wait for another agent that is stopping. */
  readonly signal?: AbortSignal;
  /** Instead of Docker. */
  readonly engine?: Engine;
}

export interface Agent {
  status(): Status;
  /** What the watchdog judges. */
  loops(): readonly LoopRecord[];
  /** Resolves after `stop`. Rejects when the agent cannot go on. */
  readonly ended: Promise<void>;
  /**
   * Ends all tasks without reporting them: for an agent that is not started again. `stop` leaves tasks
   * running.
   */
  endTasks(): Promise<void>;
  /**
   * Stops claiming, ends the claim in flight and delivers the outbox, within `grace`. Tasks and containers
   * keep running. A second call with a shorter grace ends the first one earlier.
   */
  stop(grace: Duration): Promise<void>;
}

/**
 * Resolves when all loops run; waits for an identity in the background. Throws "agent.running" when another
 * one runs here.
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { settings, log } = options;
  const { api_url: apiUrl, server_url: serverUrl } = settings;
  const runs = (plane: Plane, url: string | undefined): string | undefined =>
    options.planes?.includes(plane) === false ? undefined : url;
  const urls = { noderax: runs("noderax", apiUrl), caravanserai: runs("caravanserai", serverUrl) };
  // Check the name before opening or locking anything.
  const name =
    urls.caravanserai === undefined ? "" : nodeName(settings.node_name, options.nodeNameChosen ?? false);
  const directory = stateDirectory(settings);
  const registries = {
    noderax: new LoopRegistry(),
    caravanserai: new LoopRegistry(),
    agent: new LoopRegistry(),
  };
  const startedAt = steadyNow();
  const stop = new AbortController();
  const abandon = new AbortController();
  const { account, warnings: accountWarnings } =
    urls.noderax === undefined
      ? { account: currentAccount(), warnings: [] }
      : unprivilegedAccount(settings, log);
  const inClear = clearTextWarnings(urls, settings);
  await refuseOtherOwnersAgent(directory);
  const secured = secureState(settings.state_file, account, log);
  const caution = [...options.warnings, ...inClear, ...accountWarnings, ...secured.warnings];
  caution.push(...repairFiles(settings.state_file, runsPath(directory), log));
  const service = urls.noderax === undefined || launchMode() === "unit" ? undefined : endingService();
  if (service !== undefined) {
    caution.push(endingServiceWarning(service));
    log.warn("agent", endingServiceWarning(service));
  }
  let noderax: NoderaxLife | undefined;
  let caravanserai: CaravanseraiPlane | undefined;

  const disk = createDiskReserve(directory, log);
  // On a full disk, lock and database can be opened only after the reserve was released.
  disk.check();
  const access = { listen_token: settings.listen_token ?? null };
  const socket = await serveStatus(directory, status, () => caravanserai?.hurry(), access, {
    onWait: (pid) =>
      log.info("agent", `waiting for the agent that holds ${directory} (pid ${pid ?? "unknown"}) to end`),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  const paths = {
    database: databasePath(directory),
    runs: runsPath(directory),
    former: secured.formerDatabase,
  };
  const { database, warnings: damage } = openOrRelease(socket, () => openState(paths, AGENT_MIGRATIONS, log));
  caution.push(...damage);
  const held = holdDirectory(paths.runs);
  const common = {
    settings,
    host: readHost(),
    authorities: (): string => trustedAuthorities(settings.api_tls_ca_file),
    database,
    disk,
    log,
  };
  if (urls.noderax !== undefined) {
    noderax = startNoderax(
      {
        ...common,
        url: urls.noderax,
        runs: paths.runs,
        held,
        service,
        account,
        registry: registries.noderax,
      },
      stop.signal,
      abandon,
    );
  }
  if (urls.caravanserai !== undefined) {
    caravanserai = startCaravanseraiPlane(
      {
        ...common,
        serverUrl: urls.caravanserai,
        nodeName: name,
        assignmentCopyPath: join(directory, "assignment.json"),
        registry: registries.caravanserai,
        loops,
        ...(options.engine === undefined ? {} : { engine: options.engine }),
      },
      stop.signal,
    );
  }
  const machine = machineLoops(
    {
      disk,
      makeRoom: () => noderax?.makeRoom() ?? 0,
      releaseCaches: () => releaseCaches(database),
      settings,
      warnings: inClear,
      registry: registries.agent,
      log,
    },
    stop.signal,
  );
  const ended = Promise.all([noderax?.done, caravanserai?.done, machine]).then(() => {});

  function loops(): readonly LoopRecord[] {
    return Object.values(registries).flatMap((registry) => registry.all());
  }

  function status(): Status {
    return {
      version,
      pid: process.pid,
      uptime_seconds: Math.round((steadyNow() - startedAt) / 1_000),
      stopping: stop.signal.aborted,
      rss_bytes: process.memoryUsage.rss(),
      noderax: noderax?.status() ?? null,
      caravanserai: caravanserai?.status() ?? null,
      loops: LOOP_OWNERS.flatMap((owner) =>
        registries[owner].all().map((record) => loopStatus(owner, record)),
      ),
      warnings: [...caution, disk.shortage()].filter((text) => text !== undefined),
    };
  }

  return {
    status,
    loops,
    ended,
    endTasks: async () => noderax?.endTasks(),
    async stop(grace) {
      const late = Promise.withResolvers<void>();
      const limit = setTimeout(() => {
        abandon.abort();
        late.resolve();
      }, grace);
      stop.abort();
      try {
        await noderax?.windUp(grace);
        abandon.abort();
        // Do not wait for a Docker that hangs.
        await Promise.all([noderax?.settled(), Promise.race([caravanserai?.done, late.promise])]);
      } finally {
        clearTimeout(limit);
        // In this order: an agent that waits for the lock opens the database as soon as it has it.
        socket.stopServing();
        database.close();
        held[Symbol.dispose]();
        socket[Symbol.dispose]();
      }
    },
  };
}

/** Releases the lock when the database cannot be opened. */
function openOrRelease<T>(socket: Disposable, open: () => T): T {
  try {
    return open();
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
}
