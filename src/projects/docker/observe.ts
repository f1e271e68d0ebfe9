// Makes a snapshot of the projects from Docker's lists, and decides for which containers the lists are not enough. Pure.
import { type Duration, days, hours, minutes, seconds } from "../../lib/duration.ts";
import type { SteadyTime } from "../../lib/clock.ts";
import type { Inspected, ListedContainer, ListedImage, ListedNetwork, ListedVolume } from "./answers.ts";
import type { Snapshot } from "../plan/engine.ts";
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
import type { ContainerState, ObservedContainer } from "../plan/observed.ts";
import { type Sightings, sight } from "./sightings.ts";

/** The answers of the list calls. */
export interface Listings {
  readonly containers: readonly ListedContainer[];
  readonly networks: readonly ListedNetwork[];
  readonly volumes: readonly ListedVolume[];
  readonly images: readonly ListedImage[];
  /** When the calls were started. */
  readonly at: SteadyTime;
}

/** How a container ended: inspected once for every end. */
export interface Ending {
  /** Docker's time as text, never compared with ours. */
  readonly finishedAt: string;
  readonly exit: NonNullable<ObservedContainer["exit"]>;
}

/** What a container of another agent was made from: inspected once, it does not change. */
export interface Origin {
  readonly image: string;
  readonly made: NonNullable<ObservedContainer["made"]>;
}

/** What is known from inspections and events, by id of the container. */
export interface Details {
  readonly endings: ReadonlyMap<string, Ending>;
  readonly origins: ReadonlyMap<string, Origin>;
  readonly sightings: Sightings;
  /** Ids of the containers whose end an event reported. */
  readonly ended: ReadonlySet<string>;
}

export interface ContainerLabels {
  readonly project: string;
  readonly service: string;
}

/** The project and service in the labels of a container; undefined when it has none of ours. */
export function ownerOf({ Labels }: Pick<ListedContainer, "Labels">): ContainerLabels | undefined {
  const project = Labels[PROJECT_LABEL] ?? "";
  const service = Labels[SERVICE_LABEL] ?? "";
  return project === "" || service === "" ? undefined : { project, service };
}

/** Docker's states; the last three are Podman's. */
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

/** An unknown state, such as "stopping", is treated as "removing": the planner waits until it changes. */
export const stateOf = ({ State }: Pick<ListedContainer, "State">): ContainerState =>
  STATES[State] ?? "removing";

/** The containers that must be inspected, because neither the list nor an earlier inspection is enough. */
export function missingDetails(
  { containers, at }: Pick<Listings, "containers" | "at">,
  { endings, origins, sightings, ended }: Details,
  isRecorded: IsRecorded,
): readonly ListedContainer[] {
  return containers.filter((listed) => {
    if (ownerOf(listed) === undefined) return false;
    if (needsOrigin(listed, isRecorded) && !origins.has(listed.Id)) return true;
    if (!hasEnded(listed)) return ended.has(listed.Id) && stateOf(listed) === "running";
    const known = endings.get(listed.Id);
    const since = sightings.get(listed.Id)?.since ?? at;
    return known === undefined || endedAgain(listed, { code: known.exit.code, since }, at);
  });
}

/** Whether the records of this node say that it made the container with this id. */
export type IsRecorded = (id: string) => boolean;

/** Whether to find out what it was made from: a container that is not on record is taken over only when that is known. */
export const needsOrigin = (listed: ListedContainer, isRecorded: IsRecorded): boolean =>
  fingerprintOf(listed) === undefined || !isRecorded(listed.Id);

const hasExit = (state: ContainerState): boolean => state === "exited" || state === "dead";
export const hasEnded = (listed: ListedContainer): boolean => hasExit(stateOf(listed));
const fingerprintOf = ({ Labels }: ListedContainer): string | undefined => Labels[FINGERPRINT_LABEL];

/**
 * Whether it may have run and ended again since the end that was seen: the list shows a younger one. Only a reason to
 * inspect it: the text is made with Docker's clock, which may have been set since.
 */
function endedAgain(
  { Status }: ListedContainer,
  seen: { readonly code: number; readonly since: SteadyTime },
  at: SteadyTime,
): boolean {
  const age = ageAtMost(Status);
  const code = /^Exited \((-?\d+)\)/.exec(Status)?.[1];
  return (age !== undefined && at - age > seen.since) || (code !== undefined && Number(code) !== seen.code);
}

/** `lines`: the end of its log; `byItself`: nobody stopped it. */
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

/** Leaves out anonymous volumes: they come from the image, not from a specification. */
export function originOf({ Config, Mounts, NetworkSettings, HostConfig }: Inspected): Origin {
  const mounts = Mounts.filter(({ Type, Name }) => Type !== "volume" || !/^[0-9a-f]{64}$/.test(Name)).map(
    ({ Type, Name, Source, Destination }) => `${Type === "volume" ? Name : Source}:${Destination}`,
  );
  const networks = Object.keys(NetworkSettings.Networks);
  const restarts = !["", "no"].includes(HostConfig.RestartPolicy.Name);
  return { image: Config.Image, made: { env: Config.Env, mounts, networks, restarts } };
}

/** Makes the snapshot. `taken` stays empty: it depends on the specification of a project, see `observedIn`. */
export function observe({ containers, networks, volumes, images, at }: Listings, details: Details): Snapshot {
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
  // Old versions of Docker allowed two networks of one name: use the older one.
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
  /** When the calls were started. */
  readonly at: SteadyTime;
}

function observeContainer(
  listed: ListedContainer,
  { project, service }: ContainerLabels,
  { networkIds, details, at }: Surroundings,
): ObservedContainer {
  const name = nameOf(listed);
  const state = stateOf(listed);
  const ending = hasEnded(listed) ? details.endings.get(listed.Id) : undefined;
  const origin = details.origins.get(listed.Id);
  const networks = new Map<string, string>();
  for (const [network, endpoint] of Object.entries(listed.NetworkSettings.Networks)) {
    // Before the first start the list has no id: find the network by its name.
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

/** The sightings after a snapshot; those of removed containers are dropped. */
export function sightingsOf({ projects, at }: Pick<Snapshot, "projects" | "at">, before: Details): Sightings {
  const containers = [...projects.values()].flatMap((project) => project.containers);
  return new Map(
    containers.map(({ id, state }) => {
      const finishedAt = hasExit(state) ? (before.endings.get(id)?.finishedAt ?? "") : "";
      return [id, sight(before.sightings.get(id), { state, finishedAt }, at)];
    }),
  );
}

/** Its name; "" when it has none. Names with a second slash are links from other containers. */
export const nameOf = ({ Names }: Pick<ListedContainer, "Names">): string =>
  Names.map((name) => name.replace(/^\//, "")).find((name) => !name.includes("/")) ?? "";

const referencesOf = (images: readonly ListedImage[]): ReadonlySet<string> =>
  new Set(
    images
      .flatMap(({ RepoTags, RepoDigests }) => [...RepoTags, ...RepoDigests])
      .filter((name) => !name.startsWith("<none>") && !name.endsWith(":<none>"))
      .map(fullReference),
  );

const UNITS: Record<string, Duration> = {
  second: seconds(1),
  minute: minutes(1),
  hour: hours(1),
  day: days(1),
  week: days(7),
  month: days(30),
  year: days(365),
};

/**
 * How long ago a container was in this state at most, from the text of the list: "Up 5 seconds (healthy)", "Exited (1) 2
 * hours ago". Docker rounds down, hours to the nearest one. Returns undefined for a text without an age.
 */
export function ageAtMost(status: string): Duration | undefined {
  if (/less than a second/i.test(status)) return seconds(1);
  if (/about a minute/i.test(status)) return minutes(2);
  if (/about an hour/i.test(status)) return hours(2);
  const match = /(\d+) (second|minute|hour|day|week|month|year)s?\b/.exec(
    status.replace(/^Exited \(-?\d+\)/, ""),
  );
  const unit = UNITS[match?.[2] ?? ""];
  return match === null || unit === undefined ? undefined : (Number(match[1]) + 1) * unit;
}
