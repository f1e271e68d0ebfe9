// A server that takes another certificate without losing a connection: Bun's `reload` keeps the old one, so another server
// takes the address, and the one before serves what it has until that ends.
import type { Server } from "bun";
import { within } from "../lib/until.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import type { Bound } from "./bind.ts";
import type { TlsPair } from "./tls.ts";

export interface RenewableServer {
  /** Throws what the runtime throws. */
  open(host: string, port: number, pair: TlsPair | undefined): Bound;
  /** Whether it was another pair than the one in use. Throws as `open` does; then it listens again at the next call. */
  renew(pair: TlsPair): boolean;
  /** Undefined while it is not open. */
  port(): number | undefined;
}

type Serve<Data> = (host: string, port: number, pair: TlsPair | undefined) => Server<Data>;

/** What is still open at the end is told so by its owner, and cut after this. */
const CLOSING: Duration = seconds(1);

export function createRenewableServer<Data>(serve: Serve<Data>): RenewableServer {
  let place: { readonly host: string; readonly port: number } | undefined;
  let current: Server<Data> | undefined;
  let used: string | undefined;
  /** They have no address any more, only connections. */
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
    await within(Promise.all(rest.map((server) => server.stop(false))), CLOSING);
    await Promise.all(rest.map((server) => server.stop(true)));
  }

  return {
    open(host, port, pair) {
      current = serve(host, port, pair);
      used = pair?.fingerprint;
      // With port 0, the one that was found is kept.
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
