// Reads a release place: small documents, and downloads that go on where they were interrupted.
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { createHash } from "node:crypto";
import { dirname } from "node:path";
import * as v from "valibot";
import { networkError } from "../../control/network-error.ts";
import { retry } from "../../control/retry.ts";
import { abortScope } from "../../lib/abort-scope.ts";
import { AgentError, exit, hasCode, messageOf } from "../../lib/agent-error.ts";
import { backoff } from "../../lib/backoff.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import { isTooDeep } from "../../lib/json-depth.ts";
import { sleep } from "../../lib/loop.ts";
import { MIB, humanSize } from "../../lib/size.ts";
import { type Artefact, Catalog } from "./release.ts";
import { PRODUCT } from "./signature.ts";

/** Bytes. The signed list of keys and the checksums are some kilobytes; the catalog has a line for each release. */
const DOCUMENT_MAX = MIB;
const DOCUMENT_TIMEOUT = seconds(30);
/** A download without a byte for so long is begun again where it is. */
const IDLE_LIMIT = seconds(30);

export interface Place {
  /** Without a slash at its end. */
  readonly url: string;
  /** PEM of all trusted authorities; asked for https alone. */
  readonly authorities: () => string;
}

/**
 * Fetches a small file below the place. Throws "net.*" and "tls.*" (exit 4) when the place cannot be reached, "update.place"
 * when it has no such file, and for one above 1 MiB.
 */
export async function fetchDocument(place: Place, path: string, signal: AbortSignal): Promise<Uint8Array> {
  const url = `${place.url}/${path}`;
  using scope = abortScope([signal], DOCUMENT_TIMEOUT);
  const response = await request(place, url, {}, DOCUMENT_TIMEOUT, signal, scope.signal);
  if (!response.ok) throw refusal(url, response.status);
  try {
    return await readAtMost(response, DOCUMENT_MAX, url);
  } catch (error) {
    if (error instanceof AgentError) throw error;
    throw networkError(error, new URL(url).origin, DOCUMENT_TIMEOUT, signal, SETTING);
  }
}

const SETTING = "update_channel_url";

async function request(
  { authorities }: Place,
  url: string,
  headers: Readonly<Record<string, string>>,
  timeout: Duration,
  caller: AbortSignal,
  signal: AbortSignal,
): Promise<Response> {
  try {
    // Redirects are followed: nothing secret is sent, and what comes is verified by its signature.
    return await fetch(url, {
      headers: { "accept-encoding": "identity", ...headers },
      signal,
      ...(url.startsWith("https:") ? { tls: { ca: authorities() } } : {}),
    });
  } catch (error) {
    throw networkError(error, new URL(url).origin, timeout, caller, SETTING);
  }
}

const refusal = (url: string, status: number): AgentError =>
  new AgentError("update.place", `${url} was answered with ${status}`, {
    status,
    exit: status >= 500 || status === 429 ? exit.unreachable : exit.refused,
    hint: `Check ${SETTING}: it is the directory that holds catalog.json.`,
  });

async function readAtMost(response: Response, max: number, url: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    size += part.length;
    if (size > max) throw new AgentError("update.place", `${url} is larger than ${humanSize(max)}`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/**
 * Fetches and parses the catalog. Throws "update.foreign" when the place serves another program, and as `fetchDocument`.
 * This comes first: nothing is written on this machine before the place is known to be ours.
 */
export async function fetchCatalog(place: Place, signal: AbortSignal): Promise<Catalog> {
  const document = parseDocument(await fetchDocument(place, "catalog.json", signal));
  const parsed = v.safeParse(Catalog, document);
  if (parsed.success) return parsed.output;
  throw foreign(place, document, "catalog.json");
}

/** Parses a document of the place. Throws "update.foreign" for that of another program, "update.place" for anything else. */
export function parseAs<const S extends v.GenericSchema>(
  schema: S,
  bytes: Uint8Array,
  place: Place,
  name: string,
): v.InferOutput<S> {
  const document = parseDocument(bytes);
  const parsed = v.safeParse(schema, document);
  if (parsed.success) return parsed.output;
  throw foreign(place, document, name, v.getDotPath(parsed.issues[0]) ?? undefined);
}

function parseDocument(bytes: Uint8Array): unknown {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return isTooDeep(text) ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function foreign({ url }: Place, document: unknown, name: string, where?: string): AgentError {
  const options = {
    exit: exit.refused,
    hint: `Set ${SETTING} to a place with releases of this agent; the Go agent's are another program.`,
  };
  const product = v.safeParse(v.object({ product: v.string() }), document);
  if (product.success && product.output.product === PRODUCT)
    return new AgentError("update.place", `${url}/${name} is damaged (${where ?? "its form"})`, options);
  return new AgentError(
    "update.foreign",
    `${url} serves another program: its ${name} ${product.success ? `is of ${JSON.stringify(product.output.product.slice(0, 60))}` : `does not name ${PRODUCT}`}`,
    options,
  );
}

/** How much of a file there is: bytes so far, and of all. */
export type DownloadProgress = (done: number, all: number) => void;

/**
 * Downloads an artefact to `path`, which must be on the disk of the program: goes on with what an earlier try left, and
 * compares size and hash. Throws "update.download" when it differs, "net.*" and "update.place" after the last try.
 */
export async function download(
  place: Place,
  version: string,
  artefact: Artefact,
  path: string,
  progress: DownloadProgress,
  signal: AbortSignal,
): Promise<void> {
  const part = `${path}.part`;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  for (let attempt = 1; ; attempt++) {
    try {
      const had = await sizeOf(part);
      await fetchRest(place, version, artefact, part, progress, signal);
      if ((await sha256Of(part)) === artefact.sha256) break;
      await rm(part, { force: true });
      // What was kept of an earlier version of the file may be to blame: once more from its beginning.
      if (had === 0) throw wrong(artefact);
    } catch (error) {
      const isLasting =
        !(error instanceof AgentError) || hasCode(error, "update.download", "update.space", "aborted");
      const isRefused = hasCode(error, "update.place") && error.exit !== exit.unreachable;
      if (isLasting || isRefused || attempt >= (retry.download.tries ?? 1)) throw error;
      await sleep(backoff(retry.download, attempt, Math.random), signal);
    }
  }
  await rename(part, path);
}

const wrong = ({ file }: Artefact): AgentError =>
  new AgentError("update.download", `${file} is not what its release lists: its hash differs`, {
    hint: "The place, or something on the way, serves another file. Nothing was changed.",
    exit: exit.refused,
  });

async function fetchRest(
  place: Place,
  version: string,
  { file, size }: Artefact,
  part: string,
  progress: DownloadProgress,
  signal: AbortSignal,
): Promise<void> {
  let done = await sizeOf(part);
  if (done > size) {
    await rm(part, { force: true });
    done = 0;
  }
  progress(done, size);
  if (done === size) return;
  const url = `${place.url}/${version}/${file}`;
  using idle = idleScope(signal);
  const range = done === 0 ? {} : { range: `bytes=${done}-` };
  const response = await request(place, url, range, IDLE_LIMIT, signal, idle.signal);
  if (!response.ok) throw refusal(url, response.status);
  const begins = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
  // 200 is the whole file, and so is a range that is not the one asked for.
  const isRest = response.status === 206 && Number(begins) === done;
  if (!isRest && response.status === 206) throw refusal(url, response.status);
  if (!isRest) done = 0;
  await using handle = await open(part, isRest ? "a" : "w", 0o600);
  try {
    for await (const bytes of response.body ?? []) {
      idle.touch();
      if (done + bytes.length > size)
        throw new AgentError("update.download", `${file} is larger than its release lists`, {
          exit: exit.refused,
        });
      await writeAll(handle, bytes);
      done += bytes.length;
      progress(done, size);
    }
    await handle.sync();
  } catch (error) {
    if (error instanceof AgentError) throw error;
    throw networkError(error, new URL(url).origin, IDLE_LIMIT, signal, SETTING);
  }
  if (done < size)
    throw new AgentError("net.reset", `${file}: the connection ended after ${humanSize(done)}`, {
      exit: exit.unreachable,
    });
}

/** Throws "update.space" on a full disk. */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  try {
    for (let done = 0; done < bytes.length;) done += (await handle.write(bytes, done)).bytesWritten;
  } catch (error) {
    throw new AgentError("update.space", `the download cannot be written: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Aborts with its source, and when it was not touched for IDLE_LIMIT. */
function idleScope(source: AbortSignal): Disposable & { readonly signal: AbortSignal; touch(): void } {
  const scope = abortScope([source]);
  const over = (): void => scope.abort(new DOMException("The operation timed out.", "TimeoutError"));
  let timer = setTimeout(over, IDLE_LIMIT);
  return {
    signal: scope.signal,
    touch() {
      clearTimeout(timer);
      timer = setTimeout(over, IDLE_LIMIT);
    },
    [Symbol.dispose]() {
      clearTimeout(timer);
      scope[Symbol.dispose]();
    },
  };
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    return 0;
  }
}

/** Returns the hash of a file, hexadecimal; reads it in pieces. Throws errors of the file system. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const bytes of Bun.file(path).stream()) hash.update(bytes);
  return hash.digest("hex");
}
