// Replaces the certificate of a server without losing connections. Bun's `reload` keeps the old certificate, so a new server takes
// over the address, and the old one serves its connections until they end.
import type { Server } from "bun";
import { within } from "../lib/until.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import type { Bound } from "./bind.ts";
import type { TlsPair } from "./tls.ts";

export interface RenewableServer {
  /** Listens. Throws the runtime's error. */
  open(host: string, port: number, pair: TlsPair | undefined): Bound;
  /** Uses another pair. Returns whether it differs from the current one. Throws as `open` does; the next call listens again. */
  renew(pair: TlsPair): boolean;
  /** `undefined` while it is not open. */
  port(): number | undefined;
}

type Serve<Data> = (host: string, port: number, pair: TlsPair | undefined) => Server<Data>;

/** Time for connections to close at the end; after this they are cut. */
const CLOSE_TIMEOUT: Duration = seconds(1);

/** `serve` starts one server on an address. */
export function createRenewableServer<Data>(serve: Serve<Data>): RenewableServer {
  let place: { readonly host: string; readonly port: number } | undefined;
  let current: Server<Data> | undefined;
  let used: string | undefined;
  /** Servers that do not listen any more but still have connections. */
  const leaving = new Set<Server<Data>>();

  function retire(server: Server<Data>): Promise<void> {
    leaving.add(server);
    return server.stop(false).then(() => void leaving.delete(server));
  }

  async function close(): Promise<void> {
    if (current !== undefined) void retire(current);
    place = undefined;
    current = undefined;
    const rest = [...leaving];
    await within(Promise.all(rest.map((server) => server.stop(false))), CLOSE_TIMEOUT);
    await Promise.all(rest.map((server) => server.stop(true)));
  }

  return {
    open(host, port, pair) {
      current = serve(host, port, pair);
      used = pair?.fingerprint;
      // With port 0, later servers keep the port that was found.
      place = { host, port: current.port ?? port };
      return { port: place.port, close };
    },
    renew(pair) {
      if (place === undefined || (current !== undefined && used === pair.fingerprint)) return false;
      if (current !== undefined) void retire(current);
      current = undefined;
      current = serve(place.host, place.port, pair);
      used = pair.fingerprint;
      return true;
    },
    port: () => place?.port,
  };
}
