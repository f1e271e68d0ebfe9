// Takes snapshots of Docker: lists containers, networks, volumes and images, and inspects the containers for which the list
// is not enough.
import type { GenericSchema, InferOutput } from "valibot";
import { hasCode } from "../../lib/agent-error.ts";
import { steadyNow } from "../../lib/clock.ts";
import { createSlots } from "../../lib/slots.ts";
import {
  ContainerList,
  ImageList,
  type Inspected,
  Inspection,
  type ListedContainer,
  NetworkList,
  VolumeList,
} from "./answers.ts";
import { get } from "./call.ts";
import type { DockerClient } from "./client.ts";
import type { EndedJobs } from "./ended-jobs.ts";
import { createJobCheck } from "./ending.ts";
import { unless } from "./errors.ts";
import { trackEnd } from "./events.ts";
import { lastLines } from "./logs.ts";
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
import type { Sightings } from "./sightings.ts";
import type { Snapshot } from "../plan/engine.ts";
import { PROJECT_LABEL } from "../plan/names.ts";

export interface SnapshotReader {
  /** Throws as the client does. */
  read(signal: AbortSignal): Promise<Snapshot>;
  /** Takes one line of the event stream. */
  takeEvent(line: unknown): void;
  /** Discards the ends that events reported: some events may have been missed. */
  forgetEvents(): void;
  /** Discards how a container ended: it was started again. */
  forgetEnding(id: string): void;
  /** The project of a volume as of the last snapshot; undefined for a volume of no project. */
  ownerOfVolume(volume: string): string | undefined;
}

export interface SnapshotOptions {
  readonly isRecorded: IsRecorded;
  readonly endedJobs: EndedJobs | undefined;
}

/** How many containers are inspected at the same time: after a reboot all of them have ended. */
const INSPECTIONS = 4;

export function createSnapshotReader(
  client: DockerClient,
  { isRecorded, endedJobs }: SnapshotOptions,
): SnapshotReader {
  const isJobDone = createJobCheck(client, endedJobs);
  const endings = new Map<string, Ending>();
  const origins = new Map<string, Origin>();
  let sightings: Sightings = new Map();
  /** Ids of the containers whose end an event reported, whatever the list says. */
  const ended = new Set<string>();
  let volumeOwners: ReadonlyMap<string, string> = new Map();

  /** Resolves with the end of its log since its last start; empty where the daemon has no log of it. */
  async function readLog(id: string, { Config, State }: Inspected, signal: AbortSignal): Promise<string> {
    // The first lines may be older than Docker's start time.
    const since = Math.max(0, Math.floor(Date.parse(State.StartedAt) / 1_000) - 1) || 0;
    const call = get(`/containers/${id}/logs`, { stdout: true, stderr: true, tail: 3, since });
    try {
      const log = await client.ask(call, signal);
      return log instanceof Uint8Array ? lastLines(log, !Config.Tty) : "";
    } catch (error) {
      if (hasCode(error, "docker.refused", "docker.gone")) return "";
      throw error;
    }
  }

  /** Resolves with the container in its real state; undefined when it was removed since it was listed. */
  async function inspect(listed: ListedContainer, signal: AbortSignal): Promise<ListedContainer | undefined> {
    const { Id } = listed;
    const inspected = await unless(
      ["docker.gone"],
      client.read(Inspection, get(`/containers/${Id}/json`), signal),
    );
    if (inspected === undefined) return undefined;
    if (needsOrigin(listed, isRecorded)) origins.set(Id, originOf(inspected));
    const isStale = ended.has(Id) && !inspected.State.Running;
    const real = isStale ? { ...listed, State: "exited" } : listed;
    if (hasEnded(real) && !inspected.State.Running) {
      const lines = await readLog(Id, inspected, signal);
      endings.set(Id, endingOf(inspected, lines, await isJobDone(Id, inspected, signal)));
    }
    return real;
  }

  /** Replaces the containers for which the list is not enough; leaves out those that were removed. */
  async function complete(
    containers: readonly ListedContainer[],
    incomplete: readonly ListedContainer[],
    signal: AbortSignal,
  ): Promise<readonly ListedContainer[]> {
    const slots = createSlots(INSPECTIONS);
    const inspected = new Map<string, ListedContainer | undefined>();
    await Promise.all(
      incomplete.map(async (listed) => {
        const release = await slots.take(signal);
        try {
          inspected.set(listed.Id, await inspect(listed, signal));
        } finally {
          release?.();
        }
      }),
    );
    return containers.flatMap((one) => (inspected.has(one.Id) ? (inspected.get(one.Id) ?? []) : one));
  }

  function forgetRemoved(present: ReadonlySet<string>): void {
    endedJobs?.keep(present);
    for (const known of [endings, origins])
      for (const id of known.keys()) if (!present.has(id)) known.delete(id);
  }

  async function read(signal: AbortSignal): Promise<Snapshot> {
    const list = <S extends GenericSchema>(
      schema: S,
      path: string,
      query: Record<string, unknown>,
    ): Promise<InferOutput<S>> => client.read(schema, get(path, query), signal);
    const at = steadyNow();
    const labelled = { filters: { label: [PROJECT_LABEL] } };
    const [listed, networks, { Volumes: volumes }, images] = await Promise.all([
      list(ContainerList, "/containers/json", { all: true }),
      list(NetworkList, "/networks", labelled),
      list(VolumeList, "/volumes", labelled),
      list(ImageList, "/images/json", {}),
    ]);
    forgetRemoved(new Set(listed.map(({ Id }) => Id)));
    const details = { endings, origins, sightings, ended };
    const incomplete = missingDetails({ containers: listed, at }, details, isRecorded);
    const containers = await complete(listed, incomplete, signal);
    const snapshot = observe({ containers, networks, volumes, images, at }, details);
    sightings = sightingsOf(snapshot, details);
    volumeOwners = new Map(
      [...snapshot.projects].flatMap(([name, project]) =>
        [...project.volumes].map((volume) => [volume, name]),
      ),
    );
    return snapshot;
  }

  return {
    read,
    takeEvent: (line) => trackEnd(line, ended),
    forgetEvents: () => ended.clear(),
    forgetEnding: (id) => void endings.delete(id),
    ownerOfVolume: (volume) => volumeOwners.get(volume),
  };
}
