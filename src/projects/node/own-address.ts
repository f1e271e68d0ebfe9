// Under which address of this machine the server's side sees it: that of the route to the server.
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { within } from "../../lib/until.ts";
import { portOfUrl, unbracketed } from "../../lib/address.ts";
import { type Duration, seconds } from "../../lib/duration.ts";

/** A resolver that does not answer must not hold up the heartbeat. */
const PATIENCE: Duration = seconds(2);

/**
 * The local address of the route to the server; undefined when there is none within `patience`. Asks the kernel by
 * connecting a UDP socket, which sends nothing. IPv4 where the server has it: clients write the address in front of a
 * port, and few of them think of the brackets.
 */
export async function routeAddress(
  serverUrl: string,
  patience: Duration = PATIENCE,
): Promise<string | undefined> {
  const url = new URL(serverUrl);
  return within(firstRoute(unbracketed(url.hostname), portOfUrl(url)), patience);
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
      // An address that holds on one link only means nothing without the link's name.
      socket.connect(port, address, () =>
        end(socket.address().address.replace(/^fe80:.*/i, "") || undefined),
      );
    } catch {
      end();
    }
  });
}
