// Asks the server about every project that exists here and is not on its list, and passes on what `plan/orphans.ts` decides.
import { AgentError } from "../../lib/agent-error.ts";
import type { CaravanseraiApi } from "../../control/caravanserai-api.ts";
import type { Log } from "../../platform/log.ts";
import { epochOf, steadyNow, wallOf } from "../../lib/clock.ts";
import type { AssignedNames } from "../node/assigned-names.ts";
import type { Continuity } from "../node/continuity.ts";
import type { Snapshot } from "../plan/engine.ts";
import type { ObservedProject } from "../plan/observed.ts";
import {
  type Answer,
  type OrphanPolicy,
  type OrphanCandidate,
  UNKNOWN,
  isDataLoss,
  decideOrphan,
} from "../plan/orphans.ts";
import type { Daemon } from "./daemon.ts";
import type { Snapshots } from "./snapshots.ts";
import { type Unowned, isNothing, removable } from "../plan/ownership.ts";

export interface Orphan {
  readonly name: string;
  readonly decision: OrphanCandidate["decision"];
  readonly reason: string;
  /** When it is removed, in milliseconds since the epoch; undefined while that is not decided, or never happens. */
  readonly due: number | undefined;
  readonly containers: number;
  /** Docker's names of its volumes, which the agent never removes with an orphan. */
  readonly volumes: readonly string[];
}

export interface OrphanPorts {
  readonly api: Pick<CaravanseraiApi, "place" | "nodePlace">;
  readonly node: string;
  readonly assigned: AssignedNames;
  readonly continuity: Continuity;
  readonly snapshots: Snapshots;
  readonly daemon: Pick<Daemon, "lost">;
  /** The projects on the server's newest list. */
  readonly listed: () => ReadonlySet<string>;
  /** Projects that left the list and are kept running until the decision here. */
  readonly retained: () => readonly string[];
  /** Whether the server has ordered the removal of this project. */
  readonly isRemoving: (name: string) => boolean;
  /** Whether a step of this project is under way. */
  readonly isAtWork: (name: string) => boolean;
  /** Called after every answer about a project that is not listed. */
  readonly onDecision: (name: string, decision: OrphanCandidate) => void;
  readonly log: Log;
}

export interface OrphanWatch {
  /** Asks about all projects that are due. Resolves with a status message. */
  inspect(snapshot: Snapshot, signal: AbortSignal): Promise<string>;
  /** The server lists it: earlier answers about it do not count any more. */
  isListed(name: string): void;
  /** What would be removed, why and when, and what is only shown. */
  orphans(): readonly Orphan[];
}

/** Most questions in one round; the rest wait for the next. */
const QUESTIONS = 20;

export function createOrphanWatch(ports: OrphanPorts, policy: OrphanPolicy): OrphanWatch {
  const { api, node, assigned, continuity, snapshots, daemon, log } = ports;
  const candidates = new Map<string, OrphanCandidate>();
  /** The projects whose last answer was "gone". */
  const missing = new Set<string>();

  async function answerTo(
    name: string,
    seen: ObservedProject | undefined,
    signal: AbortSignal,
  ): Promise<Answer> {
    try {
      const place = await api.place(name, signal);
      const status = place?.status;
      if (status?.nodeRef === node) return { is: "ours", phase: status.phase };
      // A retained project is brought up again, even when nothing is left of it.
      const isRetained = ports.retained().includes(name);
      const unowned = snapshots.latest()?.unowned.get(name);
      if (!isRetained && seen !== undefined && isNothing(removable(seen, unowned))) return { is: "rest" };
      if (status?.nodeRef === "") return { is: "unplaced" };
      if (status !== undefined) return { is: "elsewhere", node: status.nodeRef };
      if (!assigned.has(name)) return { is: "foreign" };
      return { is: (await isProven(name, signal)) ? "gone" : "forgotten" };
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      return { is: "silent" };
    }
  }

  /**
   * Whether the server still has the data with which it listed the project. Asked after the 404: a server that lost its
   * database does not know this node either, or knows one that was registered later.
   */
  async function isProven(name: string, signal: AbortSignal): Promise<boolean> {
    const place = await api.nodePlace(node, signal);
    if (place === undefined) continuity.forgot("the server does not know this node any more");
    else continuity.registeredAt(place.metadata.createdAt);
    const memory = continuity.memory();
    return memory !== undefined && assigned.memory(name) === memory;
  }

  function settle(name: string, answer: Answer): void {
    const before = candidates.get(name) ?? UNKNOWN;
    const after = decideOrphan(before, answer, steadyNow(), policy);
    candidates.set(name, after);
    if (answer.is === "gone") missing.add(name);
    else if (answer.is !== "silent") missing.delete(name);
    if (before.decision === "suspected" && after.decision === "orphan")
      log.warn("orphans", `${name}: ${after.reason}; its containers here are removed after the grace period`);
    if (after.decision === "kept" && before.decision !== "kept")
      log.info("orphans", `${name}: ${after.reason}; nothing of it is removed`);
    ports.onDecision(name, after);
  }

  /** When the server misses most of our projects at once, it has lost its data: none of them is proven to be deleted. */
  function checkDataLoss(): void {
    if (!isDataLoss(missing.size, ports.listed().size + missing.size)) return;
    continuity.forgot(`the server misses ${missing.size} projects of this node at once`);
    for (const name of missing) settle(name, { is: "forgotten" });
  }

  /** Drops the names that are on no list and of which nothing exists here: a later object of that name is not ours. */
  async function forget(signal: AbortSignal): Promise<void> {
    const retained = new Set(ports.retained());
    const isOff = (name: string): boolean =>
      !ports.listed().has(name) && !retained.has(name) && !ports.isAtWork(name);
    const isLeft = (name: string, snapshot: Snapshot | undefined): boolean => {
      const seen = snapshot?.projects.get(name);
      return seen !== undefined && !isNothing(seen);
    };
    const off = assigned.all().filter((name) => isOff(name) && !isLeft(name, snapshots.latest()));
    if (off.length === 0) return;
    // The latest snapshot may be older than the last object that was created.
    const snapshot = await snapshots.fresh().catch((error: unknown) => daemon.lost(error));
    if (snapshot === undefined || signal.aborted) return;
    for (const name of off) if (isOff(name) && !isLeft(name, snapshot)) assigned.forget(name);
  }

  function drop(name: string): void {
    candidates.delete(name);
    missing.delete(name);
  }

  return {
    async inspect({ projects }, signal) {
      const known = new Set([...ports.retained(), ...projects.keys()]);
      for (const name of candidates.keys()) if (!known.has(name)) drop(name);
      const unlisted = [...known].filter((name) => !ports.listed().has(name) && !ports.isRemoving(name));
      const due = unlisted.filter((name) => (candidates.get(name)?.askAt ?? 0) <= steadyNow());
      for (const name of due.slice(0, QUESTIONS)) {
        const answer = await answerTo(name, projects.get(name), signal);
        // Ignore the answer when it came onto the list meanwhile, or after the abort.
        if (!signal.aborted && !ports.listed().has(name)) settle(name, answer);
      }
      checkDataLoss();
      await forget(signal);
      return unlisted.length === 0 ? "" : `${unlisted.length} on no list`;
    },
    isListed: drop,
    orphans: () => [
      ...[...candidates].map(([name, { decision, reason, due }]) => {
        const seen = snapshots.latest()?.projects.get(name);
        return {
          name,
          decision,
          reason,
          due: due === undefined ? undefined : epochOf(wallOf(due)),
          containers: seen?.containers.length ?? 0,
          volumes: [...(seen?.volumes ?? [])].sort(),
        };
      }),
      ...[...(snapshots.latest()?.unowned ?? [])]
        .filter(([name]) => !ports.listed().has(name) && !candidates.has(name))
        .map(([name, unowned]) => unownedOrphan(name, unowned, node)),
    ],
  };
}

/** An object with our labels that is not ours: shown, and never touched. */
function unownedOrphan(name: string, { containers, volumes, node }: Unowned, own: string): Orphan {
  const shown = { name, decision: "kept", due: undefined, containers } as const;
  // The agent of another node is responsible for its data.
  if (node !== "" && node !== own) return { ...shown, reason: `belongs to node ${node}`, volumes: [] };
  return { ...shown, reason: "not on record as made here", volumes };
}
