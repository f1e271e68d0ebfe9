// Takes a look at Docker: lists containers, networks, volumes and images, and asks one by one for what a listing does not tell.
import type { GenericSchema, InferOutput } from "valibot";
import { AgentError } from "../../lib/agent-error.ts";
import { createSlots } from "../../lib/slots.ts";
import { steadyNow } from "../../lib/clock.ts";
import {
  ContainerList,
  ImageList,
  type Inspected,
  type ListedContainer,
  NetworkList,
  VolumeList,
  parseAnswer,
} from "./answers.ts";
import { noteEnd } from "./events.ts";
import { unless } from "./errors.ts";
import type { EndedJobs } from "../reconcile/ended-jobs.ts";
import type { Look } from "../plan/engine.ts";
import { PROJECT_LABEL } from "../plan/names.ts";
import { lastLines } from "./log-tail.ts";
import {
  type Ending,
  type IsRecorded,
  type Origin,
  endingOf,
  hasEnded,
  missingDetails,
  needsOrigin,
  observe,
  originOf,
  sightingsOf,
} from "./observe.ts";
import type { Sightings } from "../reconcile/sightings.ts";

export interface LookerPorts {
  /** One GET. Throws as the engine does. */
  readonly ask: (
    path: string,
    query: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ) => Promise<unknown>;
  readonly inspect: (id: string, signal: AbortSignal) => Promise<Inspected>;
  readonly recorded: IsRecorded;
  readonly endedJobs: EndedJobs | undefined;
  readonly isJobDone: (id: string, inspected: Inspected, signal: AbortSignal) => Promise<boolean>;
}

export interface Looker {
  look(signal: AbortSignal): Promise<Look>;
  /** Takes a line of Docker's events. */
  hear(line: unknown): void;
  /** Events may have been missed: what they told counts no more. */
  missed(): void;
  /** Forgets how a container ended: it is being started again. */
  started(id: string): void;
  /** The project whose volume it is, as of the last look. */
  ownerOfVolume(volume: string): string | undefined;
}

/** How many containers are inspected side by side: after a reboot all of them have ended. */
const INSPECTIONS = 4;

export function createLooker({ ask, inspect, recorded, endedJobs, isJobDone }: LookerPorts): Looker {
  const endings = new Map<string, Ending>();
  const origins = new Map<string, Origin>();
  let sightings: Sightings = new Map();
  /** Containers that Docker's events tell the end of, whatever its list says. */
  const ended = new Set<string>();
  let volumeOwners: ReadonlyMap<string, string> = new Map();

  async function read<S extends GenericSchema>(
    schema: S,
    path: string,
    query: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<InferOutput<S>> {
    return parseAnswer(schema, await ask(path, query, signal));
  }

  /** The end of what it wrote since it was started last; empty where the daemon keeps no log. */
  async function readLog(id: string, { Config, State }: Inspected, signal: AbortSignal): Promise<string> {
    // Its first lines may be older than what Docker calls its start.
    const since = Math.max(0, Math.floor(Date.parse(State.StartedAt) / 1_000) - 1) || 0;
    const query = { stdout: true, stderr: true, tail: 3, since };
    try {
      const log = await ask(`/containers/${id}/logs`, query, signal);
      return log instanceof Uint8Array ? lastLines(log, !Config.Tty) : "";
    } catch (error) {
      if (error instanceof AgentError && /^docker\.(refused|gone)$/.test(error.code)) return "";
      throw error;
    }
  }

  /** Resolves with the container as it really is; undefined for one that is gone meanwhile. */
  async function learn(listed: ListedContainer, signal: AbortSignal): Promise<ListedContainer | undefined> {
    const inspected = await unless(["docker.gone"], inspect(listed.Id, signal));
    if (inspected === undefined) return undefined;
    if (needsOrigin(listed, recorded)) origins.set(listed.Id, originOf(inspected));
    const isStale = ended.has(listed.Id) && !inspected.State.Running;
    const now = isStale ? { ...listed, State: "exited" } : listed;
    if (hasEnded(now) && !inspected.State.Running) {
      const lines = await readLog(listed.Id, inspected, signal);
      endings.set(listed.Id, endingOf(inspected, lines, await isJobDone(listed.Id, inspected, signal)));
    }
    return now;
  }

  async function look(signal: AbortSignal): Promise<Look> {
    const at = steadyNow();
    const labelled = { filters: { label: [PROJECT_LABEL] } };
    const [containers, networks, { Volumes: volumes }, images] = await Promise.all([
      read(ContainerList, "/containers/json", { all: true }, signal),
      read(NetworkList, "/networks", labelled, signal),
      read(VolumeList, "/volumes", labelled, signal),
      read(ImageList, "/images/json", {}, signal),
    ]);
    const ids = new Set(containers.map(({ Id }) => Id));
    endedJobs?.keep(ids);
    for (const known of [endings, origins]) for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
    const slots = createSlots(INSPECTIONS);
    const learned = new Map<string, ListedContainer | undefined>();
    const asked = missingDetails({ containers, at }, { endings, origins, sightings, ended }, recorded);
    await Promise.all(
      asked.map(async (listed) => {
        const release = await slots.take(signal);
        try {
          learned.set(listed.Id, await learn(listed, signal));
        } finally {
          release?.();
        }
      }),
    );
    const present = containers.flatMap((one) => (learned.has(one.Id) ? (learned.get(one.Id) ?? []) : one));
    const details = { endings, origins, sightings, ended };
    const seen = observe({ containers: present, networks, volumes, images, at }, details);
    sightings = sightingsOf(seen, details);
    volumeOwners = new Map(
      [...seen.projects].flatMap(([name, project]) => [...project.volumes].map((volume) => [volume, name])),
    );
    return seen;
  }

  return {
    look,
    hear: (line) => noteEnd(line, ended),
    missed: () => ended.clear(),
    started: (id) => void endings.delete(id),
    ownerOfVolume: (volume) => volumeOwners.get(volume),
  };
}
