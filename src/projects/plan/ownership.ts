// Decides which of the objects with our labels are ours. A label proves nothing: a committed image keeps the labels of its
// container, and anybody may set them. Ours are
//   - objects that the records say this node created, by Docker's id;
//   - objects that it was creating when it ended: name and fingerprint were recorded before;
//   - objects of a project that the server lists as ours, when name and all properties match the specification: the Go agent
//     created them, another node, or this node before its state was lost. They are recorded from then on.
// All others are never touched, and their names count as taken.
import type { Log } from "../../platform/log.ts";
import type { DesiredProject, DesiredService } from "./desired.ts";
import type { Snapshot } from "./engine.ts";
import { describeContainer, networkName } from "./names.ts";
import type { ObservedContainer, ObservedProject } from "./observed.ts";
import { matches } from "./service.ts";
import type { Making, Records } from "../reconcile/records.ts";

/** The objects with the labels of a project that are not ours. */
export interface Unowned {
  readonly containers: number;
  readonly volumes: readonly string[];
  /** The node in their labels; "" when they have none. */
  readonly node: string;
}

export interface Ownership {
  /** Returns the snapshot with only our own objects in its projects. Records the ones that it takes over. */
  own(snapshot: Snapshot): Snapshot;
}

export interface OwnershipPorts {
  readonly records: Records;
  /** The specification of a project that the server lists as ours; undefined for others. */
  readonly desired: (project: string) => DesiredProject | undefined;
  readonly log: Log;
}

export function createOwnership({ records, desired, log }: OwnershipPorts): Ownership {
  return {
    own(snapshot) {
      records.prune(snapshot);
      const projects = new Map<string, ObservedProject>();
      const unowned = new Map<string, Unowned>();
      const foreign = new Map(snapshot.foreign);
      for (const [name, seen] of snapshot.projects) {
        const { own, rest, adopt } = divide(name, seen, records, desired(name));
        for (const { making, id, isTakeOver } of adopt) {
          records.made(making, id);
          if (isTakeOver) log.info("projects", `${name}: ${making.kind} ${making.name} is taken over`);
        }
        if (!isNothing(own)) projects.set(name, own);
        for (const one of rest.containers)
          foreign.set(one.name, `${describeContainer(one.id, one.image)} with the labels of project ${name}`);
        if (!isNothing(rest)) unowned.set(name, unownedOf(rest));
      }
      return { ...snapshot, projects, unowned, foreign };
    },
  };
}

export interface Adoption {
  readonly making: Making;
  readonly id: string;
  /** False for an object that this node had begun to create. */
  readonly isTakeOver: boolean;
}

/** Divides the objects with the labels of one project into our own and the rest. Pure. */
export function divide(
  project: string,
  seen: ObservedProject,
  records: Pick<Records, "has" | "wasBegun">,
  desired: DesiredProject | undefined,
): { readonly own: ObservedProject; readonly rest: ObservedProject; readonly adopt: readonly Adoption[] } {
  const adopt: Adoption[] = [];
  const isOwn = (id: string, making: Making, isExpected: () => boolean): boolean => {
    if (records.has(making.kind, id)) return true;
    const isTakeOver = !records.wasBegun(making);
    if (isTakeOver && !isExpected()) return false;
    adopt.push({ making, id, isTakeOver });
    return true;
  };
  const isOwnContainer = (one: ObservedContainer): boolean => {
    const making = { kind: "container", name: one.name, fingerprint: one.fingerprint ?? "" } as const;
    const service = desired?.services.find(({ name }) => name === one.service);
    return isOwn(one.id, making, () => service !== undefined && fits(one, project, service));
  };
  const isOwnVolume = (name: string): boolean =>
    isOwn(name, { kind: "volume", name, fingerprint: "" }, () => desired?.volumes.includes(name) === true);
  const network = seen.network;
  const making = { kind: "network", name: networkName(project), fingerprint: "" } as const;
  const isOwnNetwork = network !== undefined && isOwn(network, making, () => desired !== undefined);
  const containers = Map.groupBy(seen.containers, isOwnContainer);
  const volumes = Map.groupBy(seen.volumes, isOwnVolume);
  const part = (own: boolean): ObservedProject => ({
    ...seen,
    containers: containers.get(own) ?? [],
    network: isOwnNetwork === own ? network : undefined,
    volumes: new Set(volumes.get(own)),
  });
  return { own: part(true), rest: part(false), adopt };
}

/** Whether a container matches its service: name, labels, image, environment, mounts, network. */
function fits(container: ObservedContainer, project: string, service: DesiredService): boolean {
  const { fingerprint, role, made } = container;
  if (made === undefined || role === undefined) return false;
  const isMarked = fingerprint === undefined ? role === "current" : fingerprint === service.fingerprint;
  return (
    isMarked &&
    matches({ ...container, fingerprint: undefined }, service) &&
    made.networks.includes(networkName(project)) &&
    !made.restarts
  );
}

/** Whether nothing exists of the project. */
export const isNothing = ({ containers, network, volumes }: ObservedProject): boolean =>
  containers.length === 0 && network === undefined && volumes.size === 0;

/** The part of an orphan that may be removed: no volumes, and no network that containers of others use. */
export const removable = (own: ObservedProject, rest: Unowned | undefined): ObservedProject => ({
  ...own,
  volumes: new Set(),
  network: (rest?.containers ?? 0) > 0 ? undefined : own.network,
});

function unownedOf({ containers, network, volumes, makers }: ObservedProject): Unowned {
  const keys = [...containers.map(({ id }) => id), network ?? "", ...volumes];
  return {
    containers: containers.length,
    volumes: [...volumes].sort(),
    node: keys.map((key) => makers.get(key)).find(Boolean) ?? "",
  };
}
