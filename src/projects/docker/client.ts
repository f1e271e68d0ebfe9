// The client of the Docker Engine: connects through dockerode, negotiates the API version, puts a time limit on each call.
// The only file that knows dockerode; it loads it with the first call.
import type { GenericSchema, InferOutput } from "valibot";
import { AgentError } from "../../lib/agent-error.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import { Version, parseAnswer } from "./answers.ts";
import { type Call, type Modem, dial, get, watchCall } from "./call.ts";
import { dockerFailure } from "./errors.ts";
import { type DockerEnvironment, certificatesAt, parseDockerHost, readCertificates } from "./host.ts";
import type { Watch } from "./limits.ts";
import { settleVersion } from "./version.ts";

export interface DockerClientOptions {
  /** `docker_host`: "unix:///var/run/docker.sock", "tcp://host:2375". */
  readonly host: string;
  readonly environment: DockerEnvironment;
  /** Home directory of the agent's user: the default place of the TLS files. */
  readonly home: string;
  /** How long the daemon may take to answer a GET; default 30 s. After that it counts as unreachable. */
  readonly answerTimeout?: Duration | undefined;
}

export interface DockerVersions {
  /** "28.2.2" */
  readonly version: string;
  /** The negotiated one: "1.44". */
  readonly apiVersion: string;
}

export interface OpenStream {
  readonly stream: AsyncIterable<Uint8Array>;
  /** No longer limits the time. Disposing it closes the stream. */
  readonly watch: Watch;
}

/** All methods throw AgentError with the codes of `plan/engine.ts`, except `open`. */
export interface DockerClient {
  /** Connects if there is no connection. */
  versions(signal: AbortSignal): Promise<DockerVersions>;
  /** Drops the connection: the next call reads the TLS files and negotiates the API version again. */
  disconnect(): void;
  /** Resolves with the body of the answer. */
  ask(call: Call, signal: AbortSignal): Promise<unknown>;
  /** Resolves with the body, parsed. Throws `docker.refused` for a body of another shape. */
  read<S extends GenericSchema>(schema: S, call: Call, signal: AbortSignal): Promise<InferOutput<S>>;
  /** Opens the answer as a stream; the time limit of the call covers the opening only. */
  openStream(call: Call, signal: AbortSignal): Promise<OpenStream>;
  /** The same without a time limit. Throws what the library throws: pass it to `failure`. */
  open(call: Call, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /** The error as an AgentError; drops the connection when the daemon is unreachable or its version does not fit. */
  failure(error: unknown): AgentError;
}

interface Connection extends DockerVersions {
  readonly modem: Modem;
}

/** A list takes milliseconds, and on a busy disk seconds. */
const ANSWER_TIMEOUT: Duration = seconds(30);

/** Does not connect before the first call. */
export function createDockerClient(options: DockerClientOptions): DockerClient {
  const { host, environment, home, answerTimeout = ANSWER_TIMEOUT } = options;
  let connection: Connection | undefined;

  async function connect(signal: AbortSignal): Promise<Connection> {
    if (connection !== undefined) return connection;
    const directory = certificatesAt(environment, home);
    const address = parseDockerHost(host, directory !== undefined);
    const tls = directory === undefined ? undefined : await readCertificates(directory);
    const { default: Dockerode } = await import("dockerode");
    // Set every field: dockerode takes those that are missing from the environment.
    const unset = { socketPath: undefined, host: undefined, port: undefined, protocol: undefined };
    const noTls = { ca: undefined, cert: undefined, key: undefined, timeout: undefined };
    const settings = { ...unset, ...noTls, ...address, ...tls };
    const { modem: unversioned }: { modem: Modem } = new Dockerode({ ...settings, version: undefined });
    using watch = watchOf(get("/version"), signal);
    const answer = await watch.race(dial(unversioned, get("/version"), false, watch.signal));
    const { Version: version, ApiVersion: max, MinAPIVersion: min } = parseAnswer(Version, answer);
    const apiVersion = settleVersion(max, min);
    const { modem }: { modem: Modem } = new Dockerode({ ...settings, version: `v${apiVersion}` });
    connection = { modem, version, apiVersion };
    return connection;
  }

  const watchOf = (call: Call, signal: AbortSignal): Watch => watchCall(call, host, answerTimeout, signal);

  function failure(error: unknown): AgentError {
    const failed = dockerFailure(error, host);
    // The daemon may have been upgraded while it was down: negotiate the API version again.
    if (failed.code === "docker.away" || failed.code === "docker.version") connection = undefined;
    return failed;
  }

  async function ask(call: Call, signal: AbortSignal): Promise<unknown> {
    try {
      const { modem } = await connect(signal);
      using watch = watchOf(call, signal);
      return await watch.race(dial(modem, call, false, watch.signal));
    } catch (error) {
      throw failure(error);
    }
  }

  async function open(call: Call, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const { modem } = await connect(signal);
    return streamOf(await dial(modem, call, true, signal));
  }

  return {
    ask,
    open,
    failure,
    disconnect: () => void (connection = undefined),
    read: async (schema, call, signal) => parseAnswer(schema, await ask(call, signal)),
    async versions(signal) {
      try {
        const { version, apiVersion } = await connect(signal);
        return { version, apiVersion };
      } catch (error) {
        throw failure(error);
      }
    },
    async openStream(call, signal) {
      const watch = watchOf(call, signal);
      try {
        const stream = await watch.race(open(call, watch.signal));
        watch.lift();
        return { stream, watch };
      } catch (error) {
        watch[Symbol.dispose]();
        throw failure(error);
      }
    },
  };
}

function streamOf(answer: unknown): AsyncIterable<Uint8Array> {
  if (isStream(answer)) return answer;
  throw new AgentError("docker.refused", "Docker did not answer with a stream");
}

const isStream = (answer: unknown): answer is AsyncIterable<Uint8Array> =>
  typeof answer === "object" && answer !== null && Symbol.asyncIterator in answer;
