// Finds the address under which others reach this machine: the local address of the route to the server.
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { within } from "../../lib/until.ts";
import { portOfUrl, unbracketed } from "../../lib/address.ts";
import { type Duration, seconds } from "../../lib/duration.ts";

/** A resolver that does not answer must not delay the heartbeat. */
const RESOLVE_TIMEOUT: Duration = seconds(2);

/**
 * Resolves with the local address of the route to the server, undefined when none is found within `timeout`. Connects a UDP
 * socket, which sends nothing. Prefers IPv4: clients write the address in front of a port, often without the brackets that
 * IPv6 needs.
 */
export async function routeAddress(
  serverUrl: string,
  timeout: Duration = RESOLVE_TIMEOUT,
): Promise<string | undefined> {
  const url = new URL(serverUrl);
  return within(firstRoute(unbracketed(url.hostname), portOfUrl(url)), timeout);
}

async function firstRoute(host: string, port: number): Promise<string | undefined> {
  const addresses =
    isIP(host) > 0
      ? [{ address: host, family: isIP(host) }]
      : await lookup(host, { all: true }).catch(() => []);
  for (const { address, family } of addresses.toSorted((a, b) => a.family - b.family)) {
    const local = await localAddress(address, family === 6 ? "udp6" : "udp4", port);
    if (local !== undefined) return local;
  }
  return undefined;
}

function localAddress(address: string, family: "udp4" | "udp6", port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(family);
    const end = (found?: string): void => {
      resolve(found);
      socket.close();
    };
    socket.once("error", () => end());
    try {
      // A link-local address is of no use without the name of the link.
      socket.connect(port, address, () =>
        end(socket.address().address.replace(/^fe80:.*/i, "") || undefined),
      );
    } catch {
      end();
    }
  });
}
