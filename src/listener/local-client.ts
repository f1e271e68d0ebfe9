// Who on this machine is at the other end of a connection, from the kernel's tables.
//
// A client is on this machine when its own socket stands in the tables of our network namespace: so 127.0.0.1 and every other
// address of the machine are alike, and a container that reaches us through an address of the machine is none.
import { networkInterfaces } from "node:os";
import { sharedCall } from "../lib/shared-call.ts";
import { type TcpSocket, readTcpTables, socketsAt } from "../platform/tcp-sockets.ts";
import { type IpAddress, isLoopback, isSameAddress, parseIpAddress } from "../lib/address.ts";

export interface LocalClient {
  readonly uid: number;
  /** May use forward and logs without a token. */
  readonly trusted: boolean;
}

export interface Connection {
  /** Of the client, as the server sees it. */
  readonly address: string;
  readonly port: number;
  /** Of the server. */
  readonly serverPort: number;
}

/**
 * The users of the sockets that may be the client's; more than one where several connections share address and port. None
 * where one of them is closed already: the kernel shows such a socket as root's.
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

/** Of others no table needs to be read: a scan from outside would make the agent read it for every try. */
function isOwnAddress(address: IpAddress): boolean {
  if (isLoopback(address)) return true;
  const own = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  return own.some((entry) => isSameAddress(parseIpAddress(entry.address), address));
}

/** A reading takes some milliseconds: thousands of connections that come at once wait for one or two. */
const readTables = sharedCall(readTcpTables);

/** A row can be missed while the table changes under the reader. */
const READINGS = 2;

/** Undefined for a client that is not on this machine, or is gone. */
export async function findLocalClient(
  connection: Connection,
  isTrusted: (uid: number) => boolean,
): Promise<LocalClient | undefined> {
  const address = parseIpAddress(connection.address);
  if (address === undefined || !isOwnAddress(address)) return undefined;
  for (let reading = 0; reading < READINGS; reading++) {
    const users = usersOf(socketsAt(await readTables(), connection.port), connection);
    const [uid] = users.toSorted((a, b) => Number(isTrusted(a)) - Number(isTrusted(b)));
    // The least of them decides.
    if (uid !== undefined) return { uid, trusted: isTrusted(uid) };
  }
  return undefined;
}
