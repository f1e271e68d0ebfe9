// Changes the Docker Engine: creates, starts, stops and removes containers, networks and volumes.
import { AgentError } from "../../lib/agent-error.ts";
import { seconds } from "../../lib/duration.ts";
import { Created, CreatedVolume, Inspection } from "./answers.ts";
import { CHANGE_TIMEOUT, del, get, post } from "./call.ts";
import type { DockerClient } from "./client.ts";
import { unless } from "./errors.ts";
import type { SnapshotReader } from "./snapshot.ts";
import type { DesiredService } from "../plan/desired.ts";
import type { EngineChanges } from "../plan/engine.ts";
import type { ContainerLimits } from "../plan/owner.ts";
import { FINGERPRINT_LABEL, NODE_LABEL, PROJECT_LABEL, SERVICE_LABEL, nameInRole } from "../plan/names.ts";

/** Bounds the log of a container where the daemon sets no bound of its own; Docker drops the oldest part. */
const LOG_LIMIT = { Type: "json-file", Config: { "max-size": "10m", "max-file": "3" } };

/** `node` is written to the labels of everything that is created; "" writes none. */
export function createChanges(client: DockerClient, snapshots: SnapshotReader, node: string): EngineChanges {
  const labelsOf = (project: string): Record<string, string> => ({
    [PROJECT_LABEL]: project,
    ...(node === "" ? {} : { [NODE_LABEL]: node }),
  });
  /** Undefined until the first container was created: the daemon's own default shows on a container only. */
  let logConfig: typeof LOG_LIMIT | "daemon default" | undefined;

  const remove = async (path: string, query: Record<string, unknown>, signal: AbortSignal): Promise<void> => {
    await unless(["docker.gone"], client.ask(del(path, query), signal));
  };

  /** Creates a container. Finds out with the first one whether the daemon bounds logs itself; if not, creates it again. */
  async function create(name: string, body: Record<string, unknown>, signal: AbortSignal): Promise<string> {
    const { HostConfig, ...config } = body;
    const limited = logConfig === undefined || logConfig === "daemon default" ? {} : { LogConfig: logConfig };
    const limitedBody = { ...config, HostConfig: { ...Object(HostConfig), ...limited } };
    const { Id } = await client.read(Created, post("/containers/create", limitedBody, { name }), signal);
    if (logConfig !== undefined) return Id;
    const inspected = await client.read(Inspection, get(`/containers/${Id}/json`), signal);
    const { LogConfig } = inspected.HostConfig;
    const isUnbounded = LogConfig.Type === "json-file" && LogConfig.Config["max-size"] === undefined;
    logConfig = isUnbounded ? LOG_LIMIT : "daemon default";
    if (!isUnbounded) return Id;
    await remove(`/containers/${Id}`, {}, signal);
    return create(name, body, signal);
  }

  return {
    async createNetwork(project, Name, signal) {
      const Labels = labelsOf(project);
      const call = post("/networks/create", { Name, Driver: "bridge", CheckDuplicate: true, Labels });
      return (await client.read(Created, call, signal)).Id;
    },
    async createVolume(project, Name, signal) {
      const call = post("/volumes/create", { Name, Driver: "local", Labels: labelsOf(project) });
      // Docker also answers with a volume that somebody else created.
      const { Labels } = await client.read(CreatedVolume, call, signal);
      if (Labels[PROJECT_LABEL] === project) return;
      throw new AgentError(
        "docker.refused",
        `there is a volume ${Name} already, and it is not this project's`,
        { hint: `Remove it if its data is of no use:  docker volume rm ${Name}` },
      );
    },
    createContainer(project, service, role, network, signal) {
      const body = containerBody(service, network, labelsOf(project));
      return create(nameInRole(project, service.name, role), body, signal);
    },
    async startContainer(id, signal) {
      await client.ask(post(`/containers/${id}/start`), signal);
      snapshots.forgetEnding(id);
    },
    async stopContainer(id, grace, signal) {
      const call = post(`/containers/${id}/stop`, {}, { t: Math.ceil(grace / seconds(1)) });
      await unless(["docker.gone"], client.ask({ ...call, limit: grace + CHANGE_TIMEOUT }, signal));
    },
    async unpauseContainer(id, signal) {
      await unless(/is not paused/, client.ask(post(`/containers/${id}/unpause`), signal));
    },
    async renameContainer(id, name, signal) {
      await client.ask(post(`/containers/${id}/rename`, {}, { name }), signal);
    },
    removeContainer: (id, signal) => remove(`/containers/${id}`, { force: true, v: true }, signal),
    async connectNetwork(id, network, alias, signal) {
      const body = { Container: id, EndpointConfig: { Aliases: [alias] } };
      const call = post(`/networks/${network}/connect`, body);
      await unless(/already exists in network/, client.ask(call, signal));
    },
    removeNetwork: (id, signal) => remove(`/networks/${id}`, {}, signal),
    removeVolume: (name, signal) => remove(`/volumes/${encodeURIComponent(name)}`, {}, signal),
  };
}

/** In Docker's terms: `MemorySwap` is memory and swap together. `NanoCpus` is refused above the cores of the machine. */
const limitsBody = ({ memory, cpu, pids }: ContainerLimits): Record<string, number> => ({
  ...(memory === undefined ? {} : { Memory: memory, MemorySwap: memory }),
  ...(cpu === undefined ? {} : { CpuPeriod: 100_000, CpuQuota: cpu * 1_000 }),
  ...(pids === undefined ? {} : { PidsLimit: pids }),
});

/** The body of POST /containers/create. `owner`: the labels that everything of the project carries. */
function containerBody(
  { name, image, env, mounts, fingerprint, limits = {} }: DesiredService,
  network: string,
  owner: Record<string, string>,
): Record<string, unknown> {
  // A declared volume that vanished since the last snapshot is created again with our labels.
  const VolumeOptions = { Labels: owner };
  const Mounts = mounts.map(({ volume, path, declared }) => ({
    Type: "volume",
    Source: volume,
    Target: path,
    ...(declared ? { VolumeOptions } : {}),
  }));
  return {
    Image: image,
    Env: env,
    Labels: { ...owner, [SERVICE_LABEL]: name, [FINGERPRINT_LABEL]: fingerprint },
    HostConfig: { NetworkMode: network, Mounts, RestartPolicy: { Name: "no" }, ...limitsBody(limits) },
    NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: [name] } } },
  };
}
