// Finds which user of this machine is at the other end of a connection, from the kernel's TCP tables.
//
// A client is on this machine when its own socket is in the tables of our network namespace. So 127.0.0.1 and the other addresses
// of the machine count alike, and a container that connects to one of them does not count.
import { errnoOf } from "../lib/errno.ts";
import { sharedCall } from "../lib/shared-call.ts";
import { type TcpSocket, readTcpTables, socketsAt } from "../platform/tcp-sockets.ts";
import { isLoopback, isSameAddress, parseIpAddress } from "../lib/address.ts";

export interface LocalClient {
  readonly uid: number;
  /** May use tunnels and logs without a token. */
  readonly trusted: boolean;
}

export interface Connection {
  /** The client's address, as the server sees it. */
  readonly address: string;
  readonly port: number;
  /** The server's port. */
  readonly serverPort: number;
}

/**
 * Returns the users of the sockets that may be the client's: several when connections share address and port. Empty when one of
 * the sockets is closed already, which the kernel shows as root's.
 */
export function usersOf(sockets: readonly TcpSocket[], { address, port, serverPort }: Connection): number[] {
  const client = parseIpAddress(address);
  if (client === undefined) return [];
  const own = sockets.filter(
    ({ localAddress, localPort, remotePort }) =>
      localPort === port && remotePort === serverPort && isSameAddress(parseIpAddress(localAddress), client),
  );
  return own.some(({ inode }) => inode === "0") ? [] : own.map(({ uid }) => uid);
}

/**
 * Tells whether the tables need to be read at all: a scan from outside must not make the agent read them each time. Only an
 * address of this machine can be bound to. A list of the addresses would need netlink, which our unit forbids.
 */
async function isOwnAddress(address: string): Promise<boolean> {
  try {
    (await Bun.udpSocket({ hostname: address, port: 0 })).close();
    return true;
  } catch (error) {
    // Any other failure, as that of a link-local address without an interface, tells nothing.
    return errnoOf(error) !== "EADDRNOTAVAIL";
  }
}

/** Reading takes some milliseconds: connections that arrive meanwhile share the next reading. */
const readTables = sharedCall(readTcpTables);

/** Read twice before giving up: a row can be missed while the table changes. */
const READINGS = 2;

/** Returns `undefined` for a client that is not on this machine, or has closed its socket. */
export async function findLocalClient(
  connection: Connection,
  isTrusted: (uid: number) => boolean,
): Promise<LocalClient | undefined> {
  const address = parseIpAddress(connection.address);
  if (address === undefined) return undefined;
  if (!isLoopback(address) && !(await isOwnAddress(connection.address))) return undefined;
  for (let reading = 0; reading < READINGS; reading++) {
    const users = usersOf(socketsAt(await readTables(), connection.port), connection);
    const [uid] = users.toSorted((a, b) => Number(isTrusted(a)) - Number(isTrusted(b)));
    // Of several, one that is not trusted decides.
    if (uid !== undefined) return { uid, trusted: isTrusted(uid) };
  }
  return undefined;
}
