// The Caravanserai plane: constructs its parts, wires them, and runs its loops until it is stopped. Containers keep running.
import type { Database } from "bun:sqlite";
import { minutes, seconds } from "../lib/duration.ts";
import { type LoopRecord, type LoopRegistry, Wake } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import { caravanseraiApi } from "../control/caravanserai-api.ts";
import { CARAVANSERAI, createHttp } from "../control/http.ts";
import type { Containers } from "../listener/containers.ts";
import type { CaravanseraiStatus } from "./status.ts";
import { currentAccount } from "../platform/account.ts";
import { version } from "../platform/build.ts";
import type { Host } from "../platform/host.ts";
import type { Log } from "../platform/log.ts";
import { createTrustedUsers } from "../platform/trusted-users.ts";
import type { NodeInfo } from "../protocol/caravanserai/resources.ts";
import { applyStep } from "../projects/reconcile/apply.ts";
import { createAssignedNames } from "../projects/node/assigned-names.ts";
import { assignmentLoop, createAssignmentStore } from "../projects/node/assignment.ts";
import { createAssignmentCopy } from "../projects/node/assignment-copy.ts";
import { createContinuity } from "../projects/node/continuity.ts";
import { type DockerOptions, createDocker } from "../projects/docker/engine.ts";
import { isDockerLocal, socketPathOf } from "../lib/address.ts";
import { createDrain } from "../projects/node/drain.ts";
import { createEndedJobs } from "../projects/docker/ended-jobs.ts";
import type { Engine, Snapshot } from "../projects/plan/engine.ts";
import { nodeState, startNode } from "../projects/node/registration.ts";
import { createOwnership } from "../projects/plan/ownership.ts";
import { createPullMemory } from "../projects/reconcile/pull-memory.ts";
import { createPulls } from "../projects/reconcile/pulls.ts";
import { createRecords } from "../projects/reconcile/records.ts";
import { startDaemon } from "../projects/reconcile/daemon.ts";
import { createSnapshots } from "../projects/reconcile/snapshots.ts";
import { createIngressRoutes } from "../projects/reconcile/ingress-routes.ts";
import { type ReconcilePolicy, startReconcile } from "../projects/reconcile/reconciler.ts";
import { createReports } from "../projects/node/reports.ts";
import { createResources } from "../projects/node/capacity.ts";
import { routeAddress } from "../projects/node/own-address.ts";
import { startListeners } from "./listeners.ts";

export interface CaravanseraiPorts {
  readonly settings: Settings;
  readonly serverUrl: string;
  /** A name that the server accepts. */
  readonly nodeName: string;
  readonly host: Host;
  /** PEM of all trusted authorities. */
  readonly authorities: () => string;
  readonly database: Database;
  /** File with a copy of the last list of projects. */
  readonly assignmentCopyPath: string;
  readonly registry: LoopRegistry;
  /** Of both planes. */
  readonly loops: () => readonly LoopRecord[];
  readonly log: Log;
  /** Default: Docker, at `docker_host`. */
  readonly engine?: Engine;
}

export interface CaravanseraiPlane {
  status(): CaravanseraiStatus;
  /** Reports changes of the node to the server at once. */
  hurry(): void;
  /** Resolves when every loop has ended. Never rejects. */
  readonly done: Promise<void>;
}

/** Time between SIGTERM and SIGKILL, the same as in the Go agent. */
const STOP_GRACE = seconds(10);
const RESTART_WINDOW = minutes(10);

/** Starts the plane. Waits while server or Docker fail, and reports that in the status; never throws. */
export function startCaravanseraiPlane(ports: CaravanseraiPorts, signal: AbortSignal): CaravanseraiPlane {
  const { settings, serverUrl, nodeName: node, database, assignmentCopyPath, registry, log } = ports;
  const http = createHttp({ baseUrl: serverUrl, dialect: CARAVANSERAI, authorities: ports.authorities });
  const api = caravanseraiApi(http, settings.request_timeout);
  const records = createRecords(database);
  const engine =
    ports.engine ??
    dockerOf(settings, node, {
      isRecorded: (id) => records.has("container", id),
      endedJobs: createEndedJobs(database),
    });
  // If Docker is on another machine, we cannot read its disk, and the addresses of its containers are not
  // reachable.
  const isLocal = isDockerLocal(settings.docker_host);
  const drain = createDrain(database);
  const continuity = createContinuity(database, serverUrl, node, log);
  const poll = settings.project_poll_interval;
  const snapshots = createSnapshots({ engine }, signal);
  const reports = createReports({ api, log, maxAge: Math.max(seconds(10), 2 * poll) }, signal);
  const pulls = createPulls({
    engine,
    parallel: settings.max_parallel_pulls,
    idle: settings.pull_idle_limit,
    log,
    memory: createPullMemory(database),
  });
  const daemon = startDaemon({ engine, snapshots, registry, log }, signal);
  const reconcile = startReconcile(
    {
      api,
      node,
      assigned: createAssignedNames(database, serverUrl),
      continuity,
      snapshots,
      daemon,
      reports,
      apply: (step, project, signal) =>
        applyStep(step, { engine, records, pulls, log, project, grace: STOP_GRACE }, signal),
      pulls: () => pulls.states(),
      registry,
      log,
    },
    policyOf(settings),
    signal,
  );
  const listeners = startListeners(
    {
      settings,
      names: [ports.host.hostname, node],
      containers: isLocal ? engine : withoutAddresses(engine),
      isTrustedUser: createTrustedUsers(socketPathOf(settings.docker_host)),
      routes: createIngressRoutes({
        desired: () => reconcile.desired(),
        snapshot: () => (isLocal ? snapshots.latest() : undefined),
        log,
      }),
      loops: ports.loops,
      registry,
      log,
    },
    signal,
  );
  const wake = new Wake();
  const nodeLoop = startNode(
    {
      api,
      name: node,
      continuity,
      info: infoOf(ports.host),
      state: () =>
        nodeState(drain.since() !== undefined, {
          wasReached: daemon.wasReached(),
          unreachableFor: daemon.unreachableFor(),
        }),
      address: async () => settings.advertise_ip ?? routeAddress(serverUrl),
      agentPort: () => listeners.port(),
      resources: createResources({ dataRoot: () => (isLocal ? daemon.info()?.root : undefined) }),
      registry,
      wake,
      log,
    },
    settings.heartbeat_interval,
    signal,
  );
  const assignment = assignmentLoop(
    {
      api,
      store: createAssignmentStore(
        database,
        serverUrl,
        node,
        createAssignmentCopy(assignmentCopyPath, serverUrl, node, log),
      ),
      node,
      onAssignment: (assignment) => reconcile.assign(assignment),
      isLost: (name) => reconcile.isLost(name),
      registry,
      wake,
      log,
    },
    poll,
    signal,
  );

  const ownership = createOwnership({ records, desired: (project) => reconcile.specOf(project), log });
  snapshots.filterBy((snapshot) => ownership.own(snapshot));
  snapshots.subscribe((snapshot) => listeners.looked(runningIn(snapshot)));
  pulls.subscribe(() => reconcile.pullsChanged());
  daemon.subscribe({
    onEvent: (event) => reconcile.wake(event),
    onUp() {
      reconcile.wake();
      nodeLoop.hurry();
    },
  });

  function status(): CaravanseraiStatus {
    const { waiting, lastError } = reports.state();
    const info = daemon.info();
    // The last snapshot may be outdated.
    const unknown = info === undefined ? { state: "unknown", note: "Docker is unreachable" } : undefined;
    return {
      server_url: serverUrl,
      node,
      state: nodeLoop.reported() ?? null,
      draining_since: drain.since() ?? null,
      docker: {
        version: info?.version ?? null,
        api_version: info?.apiVersion ?? null,
        trouble: daemon.problem() ?? null,
      },
      projects: reconcile.states().map(({ name, phase, state, note }) => ({
        name,
        phase,
        ...(unknown ?? { state: state ?? "waiting", note: note ?? "not planned yet" }),
      })),
      orphans: reconcile.orphans().map(({ due, volumes, decision, ...orphan }) => ({
        ...orphan,
        verdict: decision,
        volumes: [...volumes],
        due: due === undefined ? null : new Date(due).toISOString(),
      })),
      reports: { waiting, last_error: lastError ?? null },
      ...listeners.status(),
    };
  }

  return {
    status,
    hurry: () => nodeLoop.hurry(),
    done: (async () => {
      await Promise.all([daemon.done, reconcile.done, nodeLoop.done, assignment, listeners.done]);
      await Promise.all([reports.settled(), pulls.close()]);
    })(),
  };
}

const infoOf = ({ kernelVersion, osImage }: Host): NodeInfo => ({
  kernelVersion,
  osImage,
  agentVersion: version,
});

function dockerOf(
  { docker_host: host }: Settings,
  node: string,
  known: Required<Pick<DockerOptions, "isRecorded" | "endedJobs">>,
): Engine {
  const { DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, DOCKER_CONFIG, PATH } = process.env;
  const environment = { DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, DOCKER_CONFIG, PATH };
  return createDocker({ host, environment, account: currentAccount(), node, ...known });
}

/** Removes addresses: on this machine they may belong to other programs. */
const withoutAddresses = (engine: Engine): Containers => ({
  logs: (...asked) => engine.logs(...asked),
  async findService(...asked) {
    const found = await engine.findService(...asked);
    return found && { ...found, addresses: [] };
  },
});

function runningIn({ projects }: Snapshot): (id: string) => boolean {
  const containers = [...projects.values()].flatMap((project) => project.containers);
  const running = new Set(containers.filter(({ state }) => state === "running").map(({ id }) => id));
  return (id) => running.has(id);
}

const policyOf = (settings: Settings): ReconcilePolicy => ({
  service: {
    pull: settings.pull_policy === "auto" ? undefined : settings.pull_policy,
    restart: { limit: settings.restart_limit, window: RESTART_WINDOW },
  },
  parallel: settings.max_parallel_projects,
  resync: settings.project_resync_interval,
  orphans: { poll: settings.project_poll_interval, grace: settings.orphan_grace },
  owner: {
    allowProjects: settings.allow_projects,
    registries: settings.allow_registries,
    container: {
      memory: settings.container_memory_max,
      cpu: settings.container_cpu_quota,
      pids: settings.container_pids_max,
    },
    project: {
      memory: settings.project_memory_max,
      cpu: settings.project_cpu_quota,
      pids: settings.project_pids_max,
    },
  },
});
