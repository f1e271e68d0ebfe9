// Finds the credentials for a registry in the Docker configuration of the agent's user, as `docker login` writes it.
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { MIB } from "../../lib/size.ts";
import { errnoOf } from "../../lib/errno.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { SYSTEM_PATH } from "../../platform/account.ts";
import { type Distrust, distrustOf } from "../../platform/trust/root-trust.ts";

/** As Docker's API takes it. A secret: must not be logged. */
export type RegistryAuth = { readonly serveraddress: string } & (
  | { readonly username: string; readonly password: string }
  | { readonly identitytoken: string }
  | { readonly registrytoken: string }
);

export interface FoundCredentials {
  readonly auth: RegistryAuth | undefined;
  /** Why none could be read, for a person; without secrets. */
  readonly problem: string | undefined;
}

export interface CredentialsOptions {
  /** From the passwd entry: $HOME may be missing, or that of the user who called sudo. */
  readonly home: string;
  readonly environment: {
    readonly DOCKER_CONFIG?: string | undefined;
    readonly PATH?: string | undefined;
  };
  /** How long a credential helper may take; default 10 s. */
  readonly helperLimit?: Duration;
}

const Entry = v.object({
  auth: v.nullish(v.string(), ""),
  username: v.nullish(v.string(), ""),
  password: v.nullish(v.string(), ""),
  identitytoken: v.nullish(v.string(), ""),
  registrytoken: v.nullish(v.string(), ""),
});
const Config = v.object({
  auths: v.nullish(v.record(v.string(), Entry), {}),
  credHelpers: v.nullish(v.record(v.string(), v.string()), {}),
  credsStore: v.nullish(v.string(), ""),
});
const HelperAnswer = v.object({ Username: v.nullish(v.string(), ""), Secret: v.string() });

/** Bytes. */
const FILE_MAX = MIB;
/** Bytes. */
const ANSWER_MAX = 1 << 16;
const HUB = "https://index.docker.io/v1/";

export const dockerConfigFile = ({ home, environment: { DOCKER_CONFIG = "" } }: CredentialsOptions): string =>
  join(DOCKER_CONFIG || join(home, ".docker"), "config.json");

/**
 * `registry` is the host of a full reference: "docker.io", "registry.example.com:5000". Reads the file every time. Never
 * throws.
 */
export async function findCredentials(
  registry: string,
  options: CredentialsOptions,
): Promise<FoundCredentials> {
  const path = dockerConfigFile(options);
  const config = await readConfig(path);
  if (typeof config === "string") return { auth: undefined, problem: `${path} ${config}` };
  if (config === undefined) return NOTHING;
  const serveraddress = registry === "docker.io" ? HUB : registry;
  const isIt = (key: string): boolean => hostOf(key) === registry;
  const helper = entryOf(config.credHelpers, isIt) ?? config.credsStore;
  const asked = helper === "" ? NOTHING : await askHelper(helper, serveraddress, options);
  if (asked.auth !== undefined) return asked;
  const entry = entryOf(config.auths, isIt);
  const auth = entry && authOf(entry, serveraddress);
  return auth === undefined ? asked : { auth, problem: undefined };
}

const NOTHING: FoundCredentials = { auth: undefined, problem: undefined };

/** Resolves with undefined when there is no file, and with the reason as text when it cannot be used. */
async function readConfig(path: string): Promise<v.InferOutput<typeof Config> | string | undefined> {
  const distrust = distrustOf(path);
  if (distrust !== undefined) return untrusted(distrust);
  try {
    if ((await stat(path)).size > FILE_MAX) return "is too large";
    const text = await readFile(path, "utf8");
    const { success, output } = v.safeParse(Config, JSON.parse(text));
    return success ? output : "is not a Docker configuration";
  } catch (error) {
    // Do not pass on the message of the parser: it quotes the text, which may be a password.
    if (error instanceof SyntaxError) return "is not valid JSON";
    const code = errnoOf(error);
    return code === "ENOENT" || code === "ENOTDIR" ? undefined : `cannot be read (${code})`;
  }
}

const untrusted = ({ problem, mend }: Distrust): string =>
  `is not used by root: ${problem}; mend it with: ${mend}`;

/** The host of a key in the configuration. Docker Hub has several names. */
function hostOf(key: string): string {
  const host = key.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  return ["index.docker.io", "registry-1.docker.io"].includes(host) ? "docker.io" : host;
}

const entryOf = <T>(entries: Readonly<Record<string, T>>, isIt: (key: string) => boolean): T | undefined =>
  Object.entries(entries).find(([key]) => isIt(key))?.[1];

function authOf(entry: v.InferOutput<typeof Entry>, serveraddress: string): RegistryAuth | undefined {
  const { identitytoken, registrytoken } = entry;
  if (identitytoken !== "") return { identitytoken, serveraddress };
  if (registrytoken !== "") return { registrytoken, serveraddress };
  const decoded = Buffer.from(entry.auth, "base64").toString("utf8");
  const colon = decoded.indexOf(":");
  const username = colon > 0 ? decoded.slice(0, colon) : entry.username;
  // Some tools pad with NUL.
  const password = colon > 0 ? decoded.slice(colon + 1).replace(/\0+$/, "") : entry.password;
  return username === "" ? undefined : { username, password, serveraddress };
}

/** The protocol of docker-credential-*: the registry on standard input, a JSON object on standard output. */
async function askHelper(
  name: string,
  registry: string,
  options: CredentialsOptions,
): Promise<FoundCredentials> {
  const failed = (why: string): FoundCredentials => ({
    auth: undefined,
    problem: `docker-credential-${name} ${why}`,
  });
  if (!/^[A-Za-z0-9_.-]+$/.test(name)) return failed("is not a name of a credential helper");
  const { home, environment, helperLimit = seconds(10) } = options;
  const PATH = environment.PATH ? `${environment.PATH}:${SYSTEM_PATH}` : SYSTEM_PATH;
  const program = Bun.which(`docker-credential-${name}`, { PATH });
  if (program === null) return failed("is not installed");
  const distrust = distrustOf(program);
  if (distrust !== undefined) return failed(untrusted(distrust));
  const child = Bun.spawn([program, "get"], {
    env: { PATH, HOME: home },
    cwd: "/",
    stdin: new Blob([registry]),
    stdout: "pipe",
    stderr: "ignore",
    detached: true,
  });
  const over = new AbortController();
  const answer = Promise.all([readAtMost(child.stdout, ANSWER_MAX), child.exited]);
  answer.catch(() => {});
  try {
    const result = await Promise.race([answer, sleep(helperLimit, over.signal)]);
    if (result === undefined) {
      // It leads a process group of its own: end that with all that it started.
      process.kill(-child.pid, "SIGKILL");
      return failed("did not answer in time");
    }
    const [text, code] = result;
    if (/credentials not found/i.test(text)) return NOTHING;
    if (code !== 0) return failed(`failed (exit ${code})`);
    return readAnswer(text, registry) ?? failed("did not answer with credentials");
  } catch {
    return failed("could not be run");
  } finally {
    over.abort();
  }
}

function readAnswer(text: string, serveraddress: string): FoundCredentials | undefined {
  try {
    const { Username: username, Secret: secret } = v.parse(HelperAnswer, JSON.parse(text));
    const auth =
      username === "<token>"
        ? { identitytoken: secret, serveraddress }
        : { username, password: secret, serveraddress };
    return { auth, problem: undefined };
  } catch {
    return undefined;
  }
}

async function readAtMost(stream: ReadableStream<Uint8Array>, limit: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of stream) {
    size += part.length;
    if (size > limit) break;
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}
