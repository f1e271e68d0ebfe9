// From Docker's listings to what of the projects is on this machine. Pure; what a listing does not tell is asked for by `docker.ts`.
import type { Inspected, ListedContainer, ListedImage, ListedNetwork, ListedVolume } from "./answers.ts";
import type { Look } from "../plan/engine.ts";
import { fullReference } from "../plan/images.ts";
import {
  FINGERPRINT_LABEL,
  NODE_LABEL,
  PROJECT_LABEL,
  SERVICE_LABEL,
  describeContainer,
  networkName,
  roleOf,
  volumeName,
} from "../plan/names.ts";
import { ageAtMost } from "./status-age.ts";
import type { ContainerState, ObservedContainer } from "../plan/observed.ts";
import { type Sightings, sight } from "../reconcile/sightings.ts";

/** What the listings said. */
export interface Listings {
  readonly containers: readonly ListedContainer[];
  readonly networks: readonly ListedNetwork[];
  readonly volumes: readonly ListedVolume[];
  readonly images: readonly ListedImage[];
  readonly at: number;
}

/** How a container ended: asked for once for every end. */
export interface Ending {
  /** Docker's own time, never compared with ours. */
  readonly finishedAt: string;
  readonly exit: NonNullable<ObservedContainer["exit"]>;
}

/** What a container of the other agent was made from: asked for once, it does not change. */
export interface Origin {
  readonly image: string;
  readonly made: NonNullable<ObservedContainer["made"]>;
}

/** By id of the container. */
export interface Details {
  readonly endings: ReadonlyMap<string, Ending>;
  readonly origins: ReadonlyMap<string, Origin>;
  readonly sightings: Sightings;
  /** Ids of those that Docker's events tell the end of. */
  readonly ended: ReadonlySet<string>;
}

export interface Ownership {
  readonly project: string;
  readonly service: string;
}

/** Whose a container is by its labels; undefined when it is not ours. */
export function ownerOf({ Labels }: Pick<ListedContainer, "Labels">): Ownership | undefined {
  const project = Labels[PROJECT_LABEL] ?? "";
  const service = Labels[SERVICE_LABEL] ?? "";
  return project === "" || service === "" ? undefined : { project, service };
}

/** Docker's states; the others are Podman's. */
const STATES: Record<string, ContainerState> = {
  created: "created",
  running: "running",
  paused: "paused",
  restarting: "restarting",
  removing: "removing",
  exited: "exited",
  dead: "dead",
  configured: "created",
  initialized: "created",
  stopped: "exited",
};

/** A state that nobody knows, "stopping" for one, is waited out. */
export const stateOf = ({ State }: Pick<ListedContainer, "State">): ContainerState =>
  STATES[State] ?? "removing";

/** What must be asked for one by one, because the listing does not tell and it is not known from before. */
export function missingDetails(
  { containers, at }: Pick<Listings, "containers" | "at">,
  { endings, origins, sightings, ended }: Details,
  recorded: IsRecorded,
): readonly ListedContainer[] {
  return containers.filter((listed) => {
    if (ownerOf(listed) === undefined) return false;
    if (needsOrigin(listed, recorded) && !origins.has(listed.Id)) return true;
    if (!hasEnded(listed)) return ended.has(listed.Id) && stateOf(listed) === "running";
    const known = endings.get(listed.Id);
    const since = sightings.get(listed.Id)?.since ?? at;
    return known === undefined || endedAgain(listed, { code: known.exit.code, since }, at);
  });
}

/** Whether this node's records say that it made the container with this id. */
export type IsRecorded = (id: string) => boolean;

/** One that is not on record is taken over only when all it was made from is known. */
export const needsOrigin = (listed: ListedContainer, recorded: IsRecorded): boolean =>
  fingerprintOf(listed) === undefined || !recorded(listed.Id);

const hasExit = (state: ContainerState): boolean => state === "exited" || state === "dead";
export const hasEnded = (listed: ListedContainer): boolean => hasExit(stateOf(listed));
const fingerprintOf = ({ Labels }: ListedContainer): string | undefined => Labels[FINGERPRINT_LABEL];

/**
 * Between two looks it may have run and ended once more: what the listing says is younger than the end that was seen.
 * Only a reason to ask: the words are made with Docker's clock, which may have been set meanwhile.
 */
function endedAgain(
  { Status }: ListedContainer,
  seen: { readonly code: number; readonly since: number },
  at: number,
): boolean {
  const age = ageAtMost(Status);
  const code = /^Exited \((-?\d+)\)/.exec(Status)?.[1];
  return (age !== undefined && at - age > seen.since) || (code !== undefined && Number(code) !== seen.code);
}

/** How a container ended, from its inspection, the end of its log, and whether nobody stopped it. */
export function endingOf({ State }: Inspected, lines: string, byItself: boolean): Ending {
  return {
    finishedAt: State.FinishedAt,
    exit: {
      code: State.ExitCode,
      oomKilled: State.OOMKilled,
      lastLines: lines === "" ? State.Error : lines,
      byItself,
    },
  };
}

/** Anonymous volumes come from the image; nobody asked for them. */
export function originOf({ Config, Mounts, NetworkSettings, HostConfig }: Inspected): Origin {
  const mounts = Mounts.filter(({ Type, Name }) => Type !== "volume" || !/^[0-9a-f]{64}$/.test(Name)).map(
    ({ Type, Name, Source, Destination }) => `${Type === "volume" ? Name : Source}:${Destination}`,
  );
  const networks = Object.keys(NetworkSettings.Networks);
  const restarts = !["", "no"].includes(HostConfig.RestartPolicy.Name);
  return { image: Config.Image, made: { env: Config.Env, mounts, networks, restarts } };
}

/** `taken` is left empty: it depends on what a project wants, see `observedIn`. */
export function observe({ containers, networks, volumes, images, at }: Listings, details: Details): Look {
  const projects = new Map<string, MutableProject>();
  const projectOf = (name: string): MutableProject => {
    const known = projects.get(name) ?? {
      containers: [],
      network: undefined,
      volumes: new Set(),
      taken: new Map(),
      makers: new Map(),
    };
    projects.set(name, known);
    return known;
  };
  const noteMaker = (project: string, key: string, labels: Readonly<Record<string, string>>): void => {
    const maker = labels[NODE_LABEL] ?? "";
    if (maker !== "") projectOf(project).makers.set(key, maker);
  };
  const foreign = new Map<string, string>();
  const networkIds = new Map<string, string>();
  // Of two with one name, which Docker allowed once, the older one counts until it is gone.
  for (const { Id, Name, Labels } of [...networks].sort((a, b) => (a.Created < b.Created ? -1 : 1))) {
    const project = Labels[PROJECT_LABEL] ?? "";
    if (project === "" || Name !== networkName(project) || networkIds.has(Name)) continue;
    networkIds.set(Name, Id);
    projectOf(project).network = Id;
    noteMaker(project, Id, Labels);
  }
  for (const { Name, Labels } of volumes) {
    const project = Labels[PROJECT_LABEL] ?? "";
    if (project === "" || !Name.startsWith(volumeName(project, ""))) continue;
    projectOf(project).volumes.add(Name);
    noteMaker(project, Name, Labels);
  }
  for (const listed of containers) {
    const owner = ownerOf(listed);
    if (owner === undefined) {
      const name = nameOf(listed);
      if (name !== "") foreign.set(name, describeContainer(listed.Id, listed.Image));
      continue;
    }
    projectOf(owner.project).containers.push(observeContainer(listed, owner, { networkIds, details, at }));
    noteMaker(owner.project, listed.Id, listed.Labels);
  }
  return { projects, foreign, unowned: new Map(), images: referencesOf(images), at };
}

interface MutableProject {
  readonly containers: ObservedContainer[];
  network: string | undefined;
  readonly volumes: Set<string>;
  readonly taken: ReadonlyMap<string, string>;
  readonly makers: Map<string, string>;
}

interface Surroundings {
  readonly networkIds: ReadonlyMap<string, string>;
  readonly details: Details;
  readonly at: number;
}

function observeContainer(
  listed: ListedContainer,
  { project, service }: Ownership,
  { networkIds, details, at }: Surroundings,
): ObservedContainer {
  const name = nameOf(listed);
  const state = stateOf(listed);
  const ending = hasEnded(listed) ? details.endings.get(listed.Id) : undefined;
  const origin = details.origins.get(listed.Id);
  const networks = new Map<string, string>();
  for (const [network, endpoint] of Object.entries(listed.NetworkSettings.Networks)) {
    // Before the first start there is no id yet: the network is found by its name then.
    const id = endpoint?.NetworkID || networkIds.get(network);
    if (id !== undefined) networks.set(id, endpoint?.IPAddress ?? "");
  }
  return {
    id: listed.Id,
    name,
    service,
    role: roleOf(project, service, name),
    state,
    image: origin?.image ?? listed.Image,
    fingerprint: fingerprintOf(listed),
    made: origin?.made,
    networks,
    since: sight(details.sightings.get(listed.Id), { state, finishedAt: ending?.finishedAt ?? "" }, at).since,
    exit: ending?.exit,
  };
}

/** What a look adds to the sightings before it; what is not there any more is forgotten. */
export function sightingsOf({ projects, at }: Pick<Look, "projects" | "at">, before: Details): Sightings {
  const containers = [...projects.values()].flatMap((project) => project.containers);
  return new Map(
    containers.map(({ id, state }) => {
      const finishedAt = hasExit(state) ? (before.endings.get(id)?.finishedAt ?? "") : "";
      return [id, sight(before.sightings.get(id), { state, finishedAt }, at)];
    }),
  );
}

/** Other names, with a second slash, are links of other containers to it. */
export const nameOf = ({ Names }: Pick<ListedContainer, "Names">): string =>
  Names.map((name) => name.replace(/^\//, "")).find((name) => !name.includes("/")) ?? "";

const referencesOf = (images: readonly ListedImage[]): ReadonlySet<string> =>
  new Set(
    images
      .flatMap(({ RepoTags, RepoDigests }) => [...RepoTags, ...RepoDigests])
      .filter((name) => !name.startsWith("<none>") && !name.endsWith(":<none>"))
      .map(fullReference),
  );
