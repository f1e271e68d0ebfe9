// The Docker Engine through dockerode: no policy, only calls. The only file that knows dockerode, and it loads it when first needed.
import type { GenericSchema, InferOutput } from "valibot";
import { AgentError } from "../../lib/agent-error.ts";
import { type Duration, minutes, seconds } from "../../lib/duration.ts";
import type { Account } from "../../platform/account.ts";
import { type CredentialsOptions, findCredentials } from "./credentials.ts";
import {
  ContainerList,
  Created,
  CreatedVolume,
  Info,
  type Inspected,
  Inspection,
  Version,
  parseAnswer,
} from "./answers.ts";
import { type Call, type Modem, dial, watchCall } from "./call.ts";
import { createJobs } from "./ending.ts";
import { EVENT_FILTERS, readEvent } from "./events.ts";
import { dockerFailure, unless } from "./errors.ts";
import { type DockerEnvironment, certificatesAt, parseDockerHost, readCertificates } from "./host.ts";
import { jsonLines } from "./lines.ts";
import { type Unframe, createUnframe } from "./logs.ts";
import { createLooker } from "./snapshot.ts";
import { serviceIn } from "./find-service.ts";
import { settleVersion } from "./version.ts";
import { type Watch, watch } from "./limits.ts";
import type { EndedJobs } from "../reconcile/ended-jobs.ts";
import type { Engine } from "../plan/engine.ts";
import { fullReference } from "../plan/images.ts";
import { FINGERPRINT_LABEL, NODE_LABEL, PROJECT_LABEL, SERVICE_LABEL, nameInRole } from "../plan/names.ts";
import type { IsRecorded } from "./observe.ts";
import { pullFailure } from "../plan/pull-failure.ts";
import { progressText, takeLine } from "./pull-progress.ts";

export interface DockerOptions {
  /** `docker_host`: "unix:///var/run/docker.sock", "tcp://host:2375". */
  readonly host: string;
  readonly environment: DockerEnvironment & CredentialsOptions["environment"];
  /** Whom the agent runs as: with whose Docker configuration private images are pulled. */
  readonly account: Pick<Account, "name" | "home">;
  /** On the label of everything that is made here. */
  readonly node?: string;
  /** Default: all are. */
  readonly recorded?: IsRecorded;
  /** Jobs that are known to be done; without it, as long as this engine lives. */
  readonly endedJobs?: EndedJobs;
  /** How long the daemon may think about a question before it counts as away; half a minute when left out. */
  readonly patience?: Duration;
}

interface Connection {
  readonly modem: Modem;
  readonly version: string;
  readonly apiVersion: string;
}

/** A listing takes milliseconds, and on a busy disk seconds. */
const PATIENCE = seconds(30);
/** Making, starting and removing wait for disks. */
const WORK = minutes(2);
/** What a container may log before Docker drops the oldest part, where the daemon sets no bound of its own. */
const LOG_LIMIT = { Type: "json-file", Config: { "max-size": "10m", "max-file": "3" } };

/** Connects when first asked, and anew after the daemon was away. */
export function createDocker(options: DockerOptions): Engine {
  const {
    host,
    environment,
    account,
    node = "",
    recorded = () => true,
    endedJobs,
    patience = PATIENCE,
  } = options;
  const labelsOf = (project: string): Record<string, string> => ({
    [PROJECT_LABEL]: project,
    ...(node === "" ? {} : { [NODE_LABEL]: node }),
  });
  let connection: Connection | undefined;
  /** Undefined until the first container was made: what the daemon does by itself is seen on a container only. */
  let logConfig: typeof LOG_LIMIT | "as the daemon does" | undefined;
  const looker = createLooker({
    ask: (path, query, signal) => ask(get(path, query), signal),
    inspect: (id, signal) => inspect(id, signal),
    recorded,
    endedJobs,
    isJobDone: createJobs(endedJobs, (call, signal) => open(get(call.path, call.query), signal), failure),
  });

  async function connect(signal: AbortSignal): Promise<Connection> {
    if (connection !== undefined) return connection;
    const directory = certificatesAt(environment, account.home);
    const address = parseDockerHost(host, directory !== undefined);
    const tls = directory === undefined ? undefined : await readCertificates(directory);
    const { default: Dockerode } = await import("dockerode");
    // Every field: what is left out, dockerode takes from the environment.
    const unset = { socketPath: undefined, host: undefined, port: undefined, protocol: undefined };
    const way = {
      ...unset,
      ca: undefined,
      cert: undefined,
      key: undefined,
      timeout: undefined,
      ...address,
      ...tls,
    };
    const { modem: plain }: { modem: Modem } = new Dockerode({ ...way, version: undefined });
    const call = get("/version");
    using limit = watchCall(call, host, signal);
    const answer = await limit.race(dial(plain, call, false, limit.signal));
    const { Version: version, ApiVersion: max, MinAPIVersion: min } = parseAnswer(Version, answer);
    const apiVersion = settleVersion(max, min);
    const { modem }: { modem: Modem } = new Dockerode({ ...way, version: `v${apiVersion}` });
    connection = { modem, version, apiVersion };
    return connection;
  }

  function failure(error: unknown): AgentError {
    const failed = dockerFailure(error, host);
    // It may come back as another version.
    if (failed.code === "docker.away" || failed.code === "docker.version") connection = undefined;
    return failed;
  }

  async function ask(call: Call, signal: AbortSignal): Promise<unknown> {
    try {
      const { modem } = await connect(signal);
      using limit = watchCall(call, host, signal);
      return await limit.race(dial(modem, call, false, limit.signal));
    } catch (error) {
      throw failure(error);
    }
  }

  const open = async (call: Call, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> =>
    streamOf(await dial((await connect(signal)).modem, call, true, signal));

  async function read<S extends GenericSchema>(
    schema: S,
    call: Call,
    signal: AbortSignal,
  ): Promise<InferOutput<S>> {
    return parseAnswer(schema, await ask(call, signal));
  }

  const get = (path: string, query: Record<string, unknown> = {}): Call => ({
    method: "GET",
    path,
    query,
    limit: patience,
  });
  const post = (path: string, body: Record<string, unknown> = {}): Call => ({
    method: "POST",
    path,
    body,
    limit: WORK,
  });

  const inspect = (id: string, signal: AbortSignal): Promise<Inspected> =>
    read(Inspection, get(`/containers/${id}/json`), signal);

  /** Creates it, and learns from the first one whether the daemon bounds logs by itself. */
  async function create(name: string, body: Record<string, unknown>, signal: AbortSignal): Promise<string> {
    const { HostConfig, ...config } = body;
    const limited =
      logConfig === undefined || logConfig === "as the daemon does" ? {} : { LogConfig: logConfig };
    const call = post("/containers/create", { ...config, HostConfig: { ...Object(HostConfig), ...limited } });
    const { Id } = await read(Created, { ...call, query: { name } }, signal);
    if (logConfig !== undefined) return Id;
    const { LogConfig } = (await inspect(Id, signal)).HostConfig;
    const unbounded = LogConfig.Type === "json-file" && LogConfig.Config["max-size"] === undefined;
    logConfig = unbounded ? LOG_LIMIT : "as the daemon does";
    if (!unbounded) return Id;
    await remove(`/containers/${Id}`, {}, signal);
    return create(name, body, signal);
  }

  const remove = async (path: string, query: Record<string, unknown>, signal: AbortSignal): Promise<void> => {
    await unless(["docker.gone"], ask({ method: "DELETE", path, query, limit: WORK }, signal));
  };

  return {
    look: (signal) => looker.look(signal),
    async info(signal) {
      connection = undefined;
      const { DockerRootDir: root } = await read(Info, get("/info"), signal);
      const { version, apiVersion } = await connect(signal);
      return { version, apiVersion, root };
    },
    async events(onEvent, signal) {
      const call = get("/events", { filters: EVENT_FILTERS });
      using limit = watchCall(call, host, signal);
      const stream = await limit
        .race(open(call, limit.signal))
        .catch((error: unknown) => Promise.reject(failure(error)));
      limit.lift();
      looker.missed();
      onEvent({ project: "", action: "connected" });
      const listen = async (): Promise<void> => {
        for await (const line of jsonLines(stream)) {
          looker.hear(line);
          const event = readEvent(line, (volume) => looker.ownerOfVolume(volume));
          if (event !== undefined) onEvent(event);
        }
      };
      // However it ends, the next look tells what was missed.
      await limit.race(listen()).catch(() => {});
      connection = undefined;
    },
    async findService(project, service, signal) {
      const label = [`${PROJECT_LABEL}=${project}`, `${SERVICE_LABEL}=${service}`];
      const call = get("/containers/json", { all: true, filters: { label } });
      const listed = await read(ContainerList, call, signal);
      return serviceIn(
        listed.filter(({ Id }) => recorded(Id)),
        project,
        service,
      );
    },
    async logs(id, { follow, tail, timestamps, since }, signal) {
      const { Config } = await inspect(id, signal);
      const query = { stdout: true, stderr: true, follow, tail, timestamps, since: since?.toFixed(6) };
      const call = get(`/containers/${encodeURIComponent(id)}/logs`, query);
      const limit = watchCall(call, host, signal);
      try {
        const stream = await limit.race(open(call, limit.signal));
        limit.lift();
        return pieces(stream, limit, Config.Tty ? (chunk) => chunk : createUnframe());
      } catch (error) {
        limit[Symbol.dispose]();
        throw failure(error);
      }
    },
    async createNetwork(project, Name, signal) {
      const Labels = labelsOf(project);
      const call = post("/networks/create", { Name, Driver: "bridge", CheckDuplicate: true, Labels });
      return (await read(Created, call, signal)).Id;
    },
    async createVolume(project, Name, signal) {
      const call = post("/volumes/create", { Name, Driver: "local", Labels: labelsOf(project) });
      // Docker answers with one that is there already, whoever made it.
      const { Labels } = await read(CreatedVolume, call, signal);
      if (Labels[PROJECT_LABEL] === project) return;
      throw new AgentError(
        "docker.refused",
        `there is a volume ${Name} already, and it is not this project's`,
        {
          hint: `Remove it if its data is of no use:  docker volume rm ${Name}`,
        },
      );
    },
    async createContainer(project, service, role, network, signal) {
      const { name, image, env, mounts, fingerprint } = service;
      const labels = { ...labelsOf(project), [SERVICE_LABEL]: name, [FINGERPRINT_LABEL]: fingerprint };
      // Should one have vanished since the last look, it is made again as ours.
      const VolumeOptions = { Labels: labelsOf(project) };
      const Mounts = mounts.map(({ volume, path, declared }) => ({
        Type: "volume",
        Source: volume,
        Target: path,
        ...(declared ? { VolumeOptions } : {}),
      }));
      const body = {
        Image: image,
        Env: env,
        Labels: labels,
        HostConfig: { NetworkMode: network, Mounts, RestartPolicy: { Name: "no" } },
        NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: [name] } } },
      };
      return create(nameInRole(project, name, role), body, signal);
    },
    async startContainer(id, signal) {
      await ask(post(`/containers/${id}/start`), signal);
      looker.started(id);
    },
    async stopContainer(id, grace, signal) {
      const query = { t: Math.ceil(grace / seconds(1)) };
      const call = { ...post(`/containers/${id}/stop`), query, limit: grace + WORK };
      await unless(["docker.gone"], ask(call, signal));
    },
    async unpauseContainer(id, signal) {
      await unless(/is not paused/, ask(post(`/containers/${id}/unpause`), signal));
    },
    async renameContainer(id, name, signal) {
      await ask({ ...post(`/containers/${id}/rename`), query: { name } }, signal);
    },
    async removeContainer(id, signal) {
      await remove(`/containers/${id}`, { force: true, v: true }, signal);
    },
    async connectNetwork(id, network, alias, signal) {
      const body = { Container: id, EndpointConfig: { Aliases: [alias] } };
      await unless(/already exists in network/, ask(post(`/networks/${network}/connect`, body), signal));
    },
    removeNetwork: (id, signal) => remove(`/networks/${id}`, {}, signal),
    removeVolume: (name, signal) => remove(`/volumes/${encodeURIComponent(name)}`, {}, signal),
    async pull(image, onProgress, idle, signal) {
      const { registry, fromImage, tag } = partsOf(image);
      const { auth, problem } = await findCredentials(registry, { home: account.home, environment });
      const login = problem ?? `log in with \`docker login ${registry}\` as ${account.name}`;
      using limit = watch(idle, (waited) => stalled(waited), signal);
      const work = async (): Promise<void> => {
        const query = { fromImage, tag };
        const call = { ...post("/images/create"), query, authconfig: auth };
        const stream = await open(call, limit.signal);
        const layers = new Map();
        for await (const line of jsonLines(stream)) {
          limit.touch();
          const error = takeLine(layers, line);
          if (error !== undefined) throw pullFailure(error, login);
          onProgress({ text: progressText(layers) });
        }
      };
      try {
        await limit.race(work());
      } catch (error) {
        const failed = failure(error);
        // What the daemon says about this one request is about the image.
        throw failed.status !== undefined && /^docker\.(refused|gone|full)$/.test(failed.code)
          ? pullFailure(failed.message, login, error)
          : failed;
      }
    },
  };
}

const stalled = (waited: string): AgentError =>
  new AgentError("pull.stalled", `nothing happened for ${waited}`);

function streamOf(answer: unknown): AsyncIterable<Uint8Array> {
  if (isStream(answer)) return answer;
  throw new AgentError("docker.refused", "Docker's answer is no stream");
}

/** What is in a stream, until it ends or `limit` aborts it; leaving the iteration ends both. */
async function* pieces(
  stream: AsyncIterable<Uint8Array>,
  limit: Watch,
  unframe: Unframe,
): AsyncGenerator<Uint8Array> {
  using _ = limit;
  for await (const chunk of stream) {
    const piece = unframe(chunk);
    if (piece.length > 0) yield piece;
  }
}

const isStream = (answer: unknown): answer is AsyncIterable<Uint8Array> =>
  typeof answer === "object" && answer !== null && Symbol.asyncIterator in answer;

/** "registry.example.com:5000/app@sha256:…" as Docker wants it: without a tag it would pull all there are. */
function partsOf(image: string): { registry: string; fromImage: string; tag: string } {
  const reference = fullReference(image);
  const registry = reference.slice(0, reference.indexOf("/"));
  const at = reference.includes("@") ? reference.indexOf("@") : reference.lastIndexOf(":");
  return { registry, fromImage: reference.slice(0, at), tag: reference.slice(at + 1) };
}
