// One call to the Docker Engine, through what dockerode offers below its methods: those put the whole specification of a
// container, its environment included, into the URL.
import type { Duration } from "../../lib/duration.ts";
import { away } from "./errors.ts";
import { type Watch, watch } from "./limits.ts";

export interface Call {
  readonly method: "GET" | "POST" | "DELETE";
  /** Without the version: "/containers/json". */
  readonly path: string;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: Readonly<Record<string, unknown>>;
  /** How long the answer may take. */
  readonly limit: Duration;
  /** With what a registry is asked. */
  readonly authconfig?: object | undefined;
}

/** docker-modem's one function. */
export interface Modem {
  dial(options: object, callback: (error: Error | null, result: unknown) => void): void;
}

/** Resolves with the body of the answer, or with a stream of it. Throws what the library throws. */
export function dial(modem: Modem, call: Call, isStream: boolean, signal: AbortSignal): Promise<unknown> {
  const { method, path, query = {}, body = {}, authconfig } = call;
  const queried = Object.keys(query).length > 0;
  const options = {
    method,
    path: queried ? `${path}?` : path,
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

/** The limit of a call: an answer that does not come in time means that the daemon is away. */
export const watchCall = ({ method, path, limit }: Call, host: string, signal: AbortSignal): Watch =>
  watch(limit, (waited) => away(host, `no answer to ${method} ${path} within ${waited}`), signal);
