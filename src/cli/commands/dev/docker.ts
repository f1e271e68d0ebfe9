// Finds out for `dev` whether there is a Docker that it may use for projects, and removes what its agent leaves there.
//
// An agent removes what carries its labels and is unknown to its server, and the server of `dev` knows nothing. So where
// another agent has containers, `dev` runs without projects.
import { homedir } from "node:os";
import { messageOf } from "../../../lib/agent-error.ts";
import { milliseconds, seconds } from "../../../lib/duration.ts";
import { sleep } from "../../../lib/loop.ts";
import { shortContainerId } from "../../../lib/text.ts";
import {
  ContainerList,
  type ListedContainer,
  NetworkList,
  VolumeList,
} from "../../../projects/docker/answers.ts";
import { del, get } from "../../../projects/docker/call.ts";
import { type DockerClient, createDockerClient } from "../../../projects/docker/client.ts";
import type { DockerEnvironment } from "../../../projects/docker/host.ts";
import { nameOf } from "../../../projects/docker/observe.ts";
import { PROJECT_LABEL } from "../../../projects/plan/names.ts";

export interface DevDocker {
  /** "28.2.2"; undefined when it cannot be reached. */
  readonly version: string | undefined;
  /** Why there are no projects; undefined when there are. */
  readonly problem: string | undefined;
  /** Removes by force everything of these projects. Resolves with the names of containers that could not be removed. */
  readonly sweep: (projects: ReadonlySet<string>) => Promise<string[]>;
}

/** A daemon that works answers within milliseconds; a frozen one must not delay the start for longer. */
const ANSWER_TIMEOUT = seconds(2);
/** Docker deletes all that a container wrote. */
const REMOVAL_TIMEOUT = seconds(10);

const LABELLED = { filters: { label: [PROJECT_LABEL] } };
const never = new AbortController().signal;

/** Never throws: an error becomes the `problem`. */
export async function findDocker(host: string, environment: DockerEnvironment): Promise<DevDocker> {
  const none = { sweep: () => Promise.resolve([]) };
  let version: string | undefined;
  try {
    const client = createDockerClient({
      host,
      environment,
      home: homedir(),
      answerTimeout: ANSWER_TIMEOUT,
    });
    ({ version } = await client.versions(never));
    const foreign = (await containers(client)).map(titleOf);
    if (foreign.length > 0) return { ...none, version, problem: occupied(foreign) };
    return { version, problem: undefined, sweep: (projects) => sweep(client, projects) };
  } catch (error) {
    return { ...none, version, problem: messageOf(error) };
  }
}

function occupied(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(", ") + (names.length > 3 ? ", …" : "");
  return `containers of another agent are here: ${shown}`;
}

const containers = (client: DockerClient): Promise<ListedContainer[]> =>
  client.read(ContainerList, get("/containers/json", { all: true, ...LABELLED }), never);

const titleOf = (listed: ListedContainer): string => nameOf(listed) || shortContainerId(listed.Id);

/** Steps that the agent had started may finish after the first list. */
const ROUNDS = 3;
const PAUSE = milliseconds(200);

async function sweep(client: DockerClient, projects: ReadonlySet<string>): Promise<string[]> {
  const isOf = ({ Labels }: { readonly Labels: Readonly<Record<string, string>> }): boolean =>
    projects.has(Labels[PROJECT_LABEL] ?? "");
  const found = async (): Promise<ListedContainer[]> => (await containers(client)).filter(isOf);
  const remove = (path: string, query: Record<string, unknown> = {}): Promise<unknown> =>
    client.ask(del(path, query, REMOVAL_TIMEOUT), never);
  for (let round = 0; round < ROUNDS; round++) {
    if (round > 0) await sleep(PAUSE);
    const left = await found();
    if (left.length === 0 && round > 0) break;
    await Promise.allSettled(left.map(({ Id }) => remove(`/containers/${Id}`, { force: true, v: true })));
  }
  const networks = await client.read(NetworkList, get("/networks", LABELLED), never);
  await Promise.allSettled(networks.filter(isOf).map(({ Id }) => remove(`/networks/${Id}`)));
  const { Volumes: volumes } = await client.read(VolumeList, get("/volumes", LABELLED), never);
  await Promise.allSettled(
    volumes.filter(isOf).map(({ Name }) => remove(`/volumes/${encodeURIComponent(Name)}`, { force: true })),
  );
  return (await found()).map(titleOf);
}
