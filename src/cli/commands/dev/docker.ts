// What `dev` must know of Docker before and after its agent: is there one, is it free for projects, and is it clean again?
//
// An agent removes what carries its labels and is unknown to its server, and `dev` brings a server that knows nothing.
// So where containers of another agent are, projects stay off.
import { shortContainerId } from "../../../lib/text.ts";
import { errnoOf } from "../../../lib/errno.ts";
import { abortScope } from "../../../lib/abort-scope.ts";
import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";
import * as v from "valibot";
import { formatHostPort } from "../../../lib/address.ts";
import { AgentError, messageOf } from "../../../lib/agent-error.ts";
import { milliseconds, seconds } from "../../../lib/duration.ts";
import { sleep } from "../../../lib/loop.ts";
import { whyAway } from "../../../projects/docker/errors.ts";
import {
  type DockerEnvironment,
  certificatesAt,
  parseDockerHost,
  readCertificates,
} from "../../../projects/docker/host.ts";
import { PROJECT_LABEL } from "../../../projects/plan/names.ts";

export interface DevDocker {
  /** "28.2.2"; undefined when it could not be reached. */
  readonly version: string | undefined;
  /** Why there are no projects; undefined when there are. */
  readonly problem: string | undefined;
  /** Removes by force whatever is left of these projects. Resolves with the names of containers it could not remove. */
  readonly sweep: (projects: ReadonlySet<string>) => Promise<string[]>;
}

/** A daemon that works answers within milliseconds; one that is frozen must not hold up the start. */
const PATIENCE = seconds(2);
/** Removing a container with all that it wrote takes its time. */
const REMOVAL_PATIENCE = seconds(10);

type Ask = (method: "GET" | "DELETE", path: string, limit?: number) => Promise<unknown>;

/** Never throws: whatever goes wrong is the `problem`. */
export async function findDocker(host: string, environment: DockerEnvironment): Promise<DevDocker> {
  const none = { sweep: () => Promise.resolve([]) };
  let version: string | undefined;
  try {
    const ask = await client(host, environment);
    version = v.parse(Version, await ask("GET", "/version")).Version;
    const strangers = (await containers(ask)).map(nameOf);
    if (strangers.length > 0) return { ...none, version, problem: occupied(strangers) };
    return { version, problem: undefined, sweep: (projects) => sweep(ask, projects) };
  } catch (error) {
    return { ...none, version, problem: messageOf(error) };
  }
}

function occupied(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(", ") + (names.length > 3 ? ", …" : "");
  return `containers of another agent are here: ${shown}`;
}

async function client(host: string, environment: DockerEnvironment): Promise<Ask> {
  const directory = certificatesAt(environment, homedir());
  const address = parseDockerHost(host, directory !== undefined);
  const local = "socketPath" in address;
  if (local) checkSocket(address.socketPath);
  const where = local ? address.socketPath : formatHostPort(address.host, address.port);
  const tls =
    !local && address.protocol === "https" && directory ? await readCertificates(directory) : undefined;
  const base = local
    ? "http://docker"
    : `${address.protocol}://${formatHostPort(address.host, address.port)}`;
  return async (method, path, limit = PATIENCE) => {
    using scope = abortScope([], limit);
    const { signal } = scope;
    let response: Response;
    try {
      response = await fetch(base + path, {
        method,
        signal,
        ...(local ? { unix: address.socketPath } : {}),
        ...(tls === undefined ? {} : { tls }),
      });
    } catch (error) {
      const why = signal.aborted ? `no answer within ${limit / 1_000} s` : whyAway(error);
      throw new AgentError("docker.away", `${where}: ${why}`, { cause: error });
    }
    const text = await response.text();
    // 404: what was to be removed is gone already.
    if (!response.ok && response.status !== 404)
      throw new AgentError("docker.refused", `${where}: HTTP ${response.status} ${text.slice(0, 200)}`);
    return text === "" || response.status === 404 ? null : JSON.parse(text);
  };
}

/** Says in words what connecting would say in numbers. */
function checkSocket(path: string): void {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    const code = errnoOf(error);
    const why =
      code === "ENOENT" ? `there is no ${path}` : code === "EACCES" ? `no permission for ${path}` : undefined;
    throw new AgentError("docker.away", why ?? messageOf(error), { cause: error });
  }
}

const Version = v.object({ Version: v.string() });
const labels = v.nullish(v.record(v.string(), v.string()), {});
const Container = v.object({ Id: v.string(), Names: v.array(v.string()), Labels: labels });
type Container = v.InferOutput<typeof Container>;
const Network = v.object({ Id: v.string(), Labels: labels });
const Volumes = v.object({ Volumes: v.nullish(v.array(v.object({ Name: v.string(), Labels: labels })), []) });

const OURS = `filters=${encodeURIComponent(JSON.stringify({ label: [PROJECT_LABEL] }))}`;

const containers = async (ask: Ask): Promise<Container[]> =>
  v.parse(v.array(Container), await ask("GET", `/containers/json?all=true&${OURS}`));

const nameOf = ({ Id, Names }: Container): string => Names[0]?.replace(/^\//, "") ?? shortContainerId(Id);

/** What the agent had begun may come to be after the first look. */
const ROUNDS = 3;
const PAUSE = milliseconds(200);

async function sweep(ask: Ask, projects: ReadonlySet<string>): Promise<string[]> {
  const isOf = ({ Labels }: { readonly Labels: Readonly<Record<string, string>> }): boolean =>
    projects.has(Labels[PROJECT_LABEL] ?? "");
  const found = async (): Promise<Container[]> => (await containers(ask)).filter(isOf);
  const remove = (path: string): Promise<unknown> => ask("DELETE", path, REMOVAL_PATIENCE);
  for (let round = 0; round < ROUNDS; round++) {
    if (round > 0) await sleep(PAUSE);
    const left = await found();
    if (left.length === 0 && round > 0) break;
    await Promise.allSettled(left.map(({ Id }) => remove(`/containers/${Id}?force=true&v=true`)));
  }
  const networks = v.parse(v.array(Network), await ask("GET", `/networks?${OURS}`));
  await Promise.allSettled(networks.filter(isOf).map(({ Id }) => remove(`/networks/${Id}`)));
  const { Volumes: volumes } = v.parse(Volumes, await ask("GET", `/volumes?${OURS}`));
  await Promise.allSettled(volumes.filter(isOf).map(({ Name }) => remove(`/volumes/${Name}?force=true`)));
  return (await found()).map(nameOf);
}
