// Decides what of all that carries our labels is ours. A label proves nothing: an image keeps those of a container that
// was committed, and anybody may set them. Ours is
//   - what the records say this node made, by Docker's id;
//   - what it was making when it died: the name and the fingerprint were recorded before;
//   - of a project that the server lists as ours, what has the name and in every part the shape that it is to have: made by
//     the other agent, by another node, or by this one before its state was lost. Records say so from then on.
// Everything else is never touched: its names count as taken.
import type { Log } from "../../platform/log.ts";
import type { DesiredProject, DesiredService } from "./desired.ts";
import type { Snapshot } from "./engine.ts";
import { describeContainer, networkName } from "./names.ts";
import type { ObservedContainer, ObservedProject } from "./observed.ts";
import { matches } from "./service.ts";
import type { Making, Records } from "../reconcile/records.ts";

/** What carries the labels of a project and is not ours. */
export interface Unowned {
  readonly containers: number;
  readonly volumes: readonly string[];
  /** The node whose agent made it, by its label; empty when it does not say. */
  readonly node: string;
}

export interface Ownership {
  /** The snapshot with our own things alone in its projects; records what is taken over. */
  own(snapshot: Snapshot): Snapshot;
}

export interface OwnershipPorts {
  readonly records: Records;
  /** The specification of a project that the server lists as ours. */
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
  /** False for what this node had begun to make. */
  readonly isTakeOver: boolean;
}

/** Divides what carries the labels of one project into our own and the rest. Pure. */
export function divide(
  project: string,
  seen: ObservedProject,
  records: Pick<Records, "has" | "wasBegun">,
  desired: DesiredProject | undefined,
): { readonly own: ObservedProject; readonly rest: ObservedProject; readonly adopt: readonly Adoption[] } {
  const adopt: Adoption[] = [];
  const isOwn = (id: string, making: Making, isWanted: () => boolean): boolean => {
    if (records.has(making.kind, id)) return true;
    const isTakeOver = !records.wasBegun(making);
    if (isTakeOver && !isWanted()) return false;
    adopt.push({ making, id, isTakeOver });
    return true;
  };
  const isOwnContainer = (one: ObservedContainer): boolean => {
    const making = { kind: "container", name: one.name, fingerprint: one.fingerprint ?? "" } as const;
    const service = desired?.services.find(({ name }) => name === one.service);
    return isOwn(one.id, making, () => service !== undefined && hasShape(one, project, service));
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

/** Whether a container is in every part what one of this service is to be: name, labels, image, environment, mounts, network. */
function hasShape(container: ObservedContainer, project: string, service: DesiredService): boolean {
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

export const isNothing = ({ containers, network, volumes }: ObservedProject): boolean =>
  containers.length === 0 && network === undefined && volumes.size === 0;

/** What of an orphan may be removed: no data, and no network that containers of others stand on. */
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
