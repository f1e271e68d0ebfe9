// One call to the Docker Engine. It uses docker-modem's `dial` and not dockerode's methods: those put the whole
// specification of a container, its environment included, into the URL.
import { type Duration, minutes } from "../../lib/duration.ts";
import { unreachable } from "./errors.ts";
import { type Watch, watch } from "./limits.ts";

type Query = Readonly<Record<string, unknown>>;

export interface Call {
  readonly method: "GET" | "POST" | "DELETE";
  /** Without the version: "/containers/json". */
  readonly path: string;
  readonly query?: Query;
  readonly body?: Readonly<Record<string, unknown>>;
  /** How long the answer may take; undefined: the answer timeout of the client. */
  readonly limit?: Duration;
  /** Credentials for the registry of a pull. */
  readonly authconfig?: object | undefined;
}

/** Creating, starting and removing wait for disks. */
export const CHANGE_TIMEOUT: Duration = minutes(2);

export const get = (path: string, query: Query = {}): Call => ({ method: "GET", path, query });

export const post = (path: string, body: Record<string, unknown> = {}, query: Query = {}): Call => ({
  method: "POST",
  path,
  body,
  query,
  limit: CHANGE_TIMEOUT,
});

export const del = (path: string, query: Query = {}, limit = CHANGE_TIMEOUT): Call => ({
  method: "DELETE",
  path,
  query,
  limit,
});

/** The one function of docker-modem that is used. */
export interface Modem {
  dial(options: object, callback: (error: Error | null, result: unknown) => void): void;
}

/** Resolves with the body of the answer, or with a stream of it. Throws what the library throws. */
export function dial(modem: Modem, call: Call, isStream: boolean, signal: AbortSignal): Promise<unknown> {
  const { method, path, query = {}, body = {}, authconfig } = call;
  const hasQuery = Object.keys(query).length > 0;
  const options = {
    method,
    path: hasQuery ? `${path}?` : path,
    options: { _query: query, _body: body },
    statusCodes: { 200: true, 201: true, 204: true, 304: true },
    authconfig,
    isStream,
    abortSignal: signal,
  };
  return new Promise((resolve, reject) => {
    modem.dial(options, (error, result) => {
      if (error === null) resolve(result);
      else reject(error);
    });
  });
}

/** Limits the time of a call, by default to `timeout`: a daemon that does not answer in time is unreachable. */
export const watchCall = (
  { method, path, limit }: Call,
  host: string,
  timeout: Duration,
  signal: AbortSignal,
): Watch =>
  watch(
    limit ?? timeout,
    (waited) => unreachable(host, `no answer to ${method} ${path} within ${waited}`),
    signal,
  );
