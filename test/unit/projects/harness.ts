// The real reconcile loop between a model of Docker and a server that is an object: quick, and made to misbehave.
import type { Database } from "bun:sqlite";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { type Duration, milliseconds, minutes, seconds } from "../../../src/lib/duration.ts";
import { LoopRegistry } from "../../../src/lib/loop.ts";
import type { CaravanseraiApi } from "../../../src/control/caravanserai-api.ts";
import { type Log, silent } from "../../../src/platform/log.ts";
import { openDatabase } from "../../../src/platform/database.ts";
import type { ProjectStatus } from "../../../src/protocol/caravanserai/resources.ts";
import { applyStep } from "../../../src/projects/reconcile/apply.ts";
import {
  type AssignedNames,
  assignedNamesMigration,
  createAssignedNames,
} from "../../../src/projects/node/assigned-names.ts";
import { type AssignmentStore, assignmentLoop } from "../../../src/projects/node/assignment.ts";
import {
  type Continuity,
  continuityMigration,
  createContinuity,
} from "../../../src/projects/node/continuity.ts";
import type { OwnerPolicy } from "../../../src/projects/plan/owner.ts";
import type { Snapshot } from "../../../src/projects/plan/engine.ts";
import { createOwnership } from "../../../src/projects/plan/ownership.ts";
import { createPulls } from "../../../src/projects/reconcile/pulls.ts";
import {
  type Making,
  type Records,
  createRecords,
  recordsMigration,
} from "../../../src/projects/reconcile/records.ts";
import { startDaemon } from "../../../src/projects/reconcile/daemon.ts";
import { createSnapshots } from "../../../src/projects/reconcile/snapshots.ts";
import { startReconcile } from "../../../src/projects/reconcile/reconciler.ts";
import { createReports } from "../../../src/projects/node/reports.ts";
import { turn } from "../../support/until.ts";
import { WorldEngine } from "../../support/world-engine.ts";

export const NODE = "here";
/** When the server registered the node, unless a test says otherwise. */
export const REGISTERED = "2026-01-01T00:00:00Z";
export const forever = new AbortController().signal;

export interface ServerProject {
  phase: string;
  nodeRef: string;
  spec: unknown;
  conditions?: { reason: string; message: string }[];
}

export const service = (name: string, image = "web:1", env: Record<string, string> = {}) => ({
  name,
  image,
  env: Object.entries(env).map(([name, value]) => ({ name, value })),
  volumeMounts: [{ name: "data", mountPath: "/data" }],
});
export const spec = (...services: unknown[]) => ({
  services: services.length > 0 ? services : [service("web")],
  volumes: [{ name: "data", type: "Ephemeral" }],
});

/** The server's side, as far as a node sees it. */
export class Server implements Pick<CaravanseraiApi, "projects" | "place" | "nodePlace" | "report"> {
  readonly projects_ = new Map<string, ServerProject>();
  readonly reports: { name: string; report: ProjectStatus }[] = [];
  away = false;
  questions = 0;
  polls = 0;
  /** When it registered the node; undefined while it knows none. */
  registered: string | undefined = REGISTERED;

  /** Starts on an empty database; `registered`: the node's heartbeat was there already and has registered it again. */
  losesAll(registered?: string): void {
    this.projects_.clear();
    this.registered = registered;
  }

  put(name: string, phase = "Scheduled", what: unknown = spec(), nodeRef = NODE): void {
    this.projects_.set(name, { phase, nodeRef, spec: what });
  }
  phase(name: string): string | undefined {
    return this.projects_.get(name)?.phase;
  }
  reported(name: string): string[] {
    return this.reports.filter((one) => one.name === name).map(({ report }) => report.phase);
  }
  #check(): void {
    if (this.away) throw new AgentError("net.refused", "connection refused");
  }
  /** Resolves when the list was asked for this many times more. */
  async polled(times: number): Promise<void> {
    const goal = this.polls + times;
    await until(`the list was asked for ${times} times more`, () => this.polls >= goal);
  }
  async projects(node: string): Promise<unknown[]> {
    await turn();
    this.#check();
    this.polls++;
    return [...this.projects_]
      .filter(
        ([, { phase, nodeRef }]) => nodeRef === node && /Scheduled|Running|Failed|Terminating/.test(phase),
      )
      .map(([name, { phase, nodeRef, spec, conditions = [] }]) => ({
        metadata: { name },
        spec,
        status: { phase, nodeRef, conditions },
      }));
  }
  async place(name: string) {
    await turn();
    this.#check();
    this.questions++;
    const found = this.projects_.get(name);
    return (
      found && { metadata: { name }, status: { phase: found.phase, nodeRef: found.nodeRef, conditions: [] } }
    );
  }
  async nodePlace(_name: string) {
    await turn();
    this.#check();
    if (this.registered === undefined) return undefined;
    const network = { ip: "", agentPort: 0 };
    return { metadata: { createdAt: this.registered }, status: { state: "Ready", network } };
  }
  async report(name: string, report: ProjectStatus): Promise<void> {
    await turn();
    this.#check();
    this.reports.push({ name, report });
    const found = this.projects_.get(name);
    if (found === undefined) return;
    found.phase = report.phase;
    found.conditions = [{ reason: report.reason, message: report.message }];
  }
}

export interface RunOptions {
  readonly store?: AssignmentStore;
  readonly state?: ProjectsState;
  readonly grace?: Duration;
  readonly limit?: number;
  readonly window?: Duration;
  readonly parallel?: number;
  readonly patience?: Duration;
  readonly poll?: Duration;
  readonly resync?: Duration;
  readonly owner?: Partial<OwnerPolicy>;
}

export const emptyStore = (): AssignmentStore => {
  let items: readonly unknown[] | undefined;
  return {
    read: () => items,
    write(next) {
      const isNew = JSON.stringify(next) !== JSON.stringify(items);
      items = next;
      return isNew;
    },
  };
};

/** A process that has died writes nothing more, whatever it was waiting for. */
function mortal(records: Records, signal: AbortSignal): Records {
  const alive =
    <T extends unknown[]>(write: (...what: T) => void) =>
    (...what: T): void =>
      signal.aborted ? undefined : write(...what);
  return {
    has: (kind, id) => records.has(kind, id),
    wasBegun: (making) => records.wasBegun(making),
    begin: alive((making: Making) => records.begin(making)),
    made: alive((making: Making, id: string) => records.made(making, id)),
    refused: alive((making: Making) => records.refused(making)),
    prune: alive((snapshot: Snapshot) => records.prune(snapshot)),
  };
}

/** What an agent keeps on disk of its projects' owners. */
export interface ProjectsState {
  readonly records: Records;
  readonly assigned: AssignedNames;
  readonly continuity: Continuity;
}

export const MIGRATIONS = [assignedNamesMigration, continuityMigration, recordsMigration];

/** As the agent reads it from its database at a start. */
export const stateIn = (database: Database): ProjectsState => ({
  records: createRecords(database),
  assigned: createAssignedNames(database, "server"),
  continuity: createContinuity(database, "server", NODE, silent),
});

/** Of a state directory that was assigned these in an earlier run. */
export function stateWith(...names: string[]): ProjectsState {
  const state = stateIn(openDatabase(":memory:", MIGRATIONS));
  state.continuity.registeredAt(REGISTERED);
  state.assigned.add(names, state.continuity.memory());
  return state;
}

/** One life of the agent's projects; `crash` ends it at once, as far as a process can be ended from inside. */
export function runProjects(engine: WorldEngine, server: Server, options: RunOptions = {}) {
  const end = new AbortController();
  const { signal } = end;
  const lines: string[] = [];
  const write =
    (level: string) =>
    (part: string, event: string): void =>
      void lines.push(`${level} ${part} ${event}`);
  const log: Log = { debug() {}, info: write("info"), warn: write("warn"), error: write("error") };
  const registry = new LoopRegistry();
  const poll = options.poll ?? milliseconds(20);
  const state = options.state ?? stateWith();
  const records = mortal(state.records, signal);
  const snapshots = createSnapshots({ engine, pace: milliseconds(1) }, signal);
  const reports = createReports({ api: server, log, maxAge: seconds(10), random: () => 0 }, signal);
  const pulls = createPulls({
    engine,
    parallel: 3,
    idle: minutes(1),
    log,
  });
  const daemon = startDaemon({ engine, snapshots, registry, log }, signal);
  const reconcile = startReconcile(
    {
      api: server,
      node: NODE,
      ...state,
      snapshots,
      daemon,
      reports,
      apply: (step, project, signal) =>
        applyStep(step, { engine, records, pulls, log, project, grace: seconds(10) }, signal),
      pulls: () => pulls.states(),
      registry,
      log,
    },
    {
      service: {
        pull: "if-not-present",
        restart: { limit: options.limit ?? 5, window: options.window ?? minutes(10) },
      },
      parallel: options.parallel ?? 8,
      resync: options.resync ?? seconds(1),
      orphans: { poll, grace: options.grace ?? milliseconds(60) },
      owner: { allowProjects: true, registries: undefined, container: {}, project: {}, ...options.owner },
    },
    signal,
  );
  const assignment = assignmentLoop(
    {
      api: server,
      store: options.store ?? emptyStore(),
      node: NODE,
      onAssignment: (one) => reconcile.assign(one),
      isLost: (name) => reconcile.isLost(name),
      registry,
      log,
      fallbackAfter: options.patience ?? seconds(3),
    },
    poll,
    signal,
  );
  const ownership = createOwnership({ records, desired: (name) => reconcile.specOf(name), log });
  snapshots.filterBy((snapshot) => ownership.own(snapshot));
  pulls.subscribe(() => reconcile.pullsChanged());
  daemon.subscribe({ onEvent: (event) => reconcile.wake(event), onUp: () => reconcile.wake() });
  async function crash(): Promise<void> {
    end.abort();
    await Promise.all([assignment, reconcile.done, daemon.done]);
    await Promise.all([reports.settled(), pulls.close()]);
  }
  return { reconcile, reports, daemon, registry, lines, crash, [Symbol.asyncDispose]: crash };
}

/** Waits until it holds, for `limit` of the clock that the test runs by. Says what was waited for when it does not. */
export async function until(what: string, holds: () => boolean, limit: Duration = seconds(8)): Promise<void> {
  const end = performance.now() + limit;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within ${limit} ms: ${what}`);
    await Bun.sleep(2);
  }
}
