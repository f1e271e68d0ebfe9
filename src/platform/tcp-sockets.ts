// Reads the TCP sockets of this network namespace from /proc: the user of a connection, the program that has
// a port.
import { readFile, readdir, readlink } from "node:fs/promises";
import { processName } from "./processes.ts";

export interface TcpSocket {
  /** "127.0.0.1", or IPv6 as eight groups. */
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** include/net/tcp_states.h */
  readonly state: number;
  readonly uid: number;
  /** "0" for a socket that no process has open any more; then `uid` means nothing. */
  readonly inode: string;
}

const LISTEN = 0x0a;

/** Returns the tables of IPv4 and IPv6, one after the other; empty where /proc cannot be read. */
export async function readTcpTables(): Promise<string> {
  // Not /proc/net, which is missing under `ProcSubset=pid`.
  const read = (name: string): Promise<string> =>
    readFile(`/proc/self/net/${name}`, "latin1").catch(() => "");
  return (await Promise.all([read("tcp"), read("tcp6")])).join("\n");
}

/**
 * Returns the sockets whose local or remote port is `port`. Parses no other lines: a busy host has 100,000 of
 * them.
 */
export function socketsAt(tables: string, port: number): TcpSocket[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
  const sockets: TcpSocket[] = [];
  for (let at = tables.indexOf(wanted); at >= 0;) {
    const start = tables.lastIndexOf("\n", at) + 1;
    const newline = tables.indexOf("\n", at);
    const end = newline < 0 ? tables.length : newline;
    const socket = parseRow(tables.slice(start, end));
    if (socket?.localPort === port || socket?.remotePort === port) sockets.push(socket);
    at = tables.indexOf(wanted, end);
  }
  return sockets;
}

/** "  0: 0100007F:2382 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 12345 1 …" */
const ROW =
  /^ *\d+: ([\dA-F]{8}|[\dA-F]{32}):([\dA-F]{4}) ([\dA-F]{8}|[\dA-F]{32}):([\dA-F]{4}) ([\dA-F]{2}) \S+ \S+ \S+ +(\d+) +\d+ (\d+)\b/;

function parseRow(line: string): TcpSocket | undefined {
  const [, local, localPort, remote, remotePort, state, uid, inode] = ROW.exec(line) ?? [];
  if (local === undefined || remote === undefined || inode === undefined) return undefined;
  const hex = (text: string | undefined): number => Number.parseInt(text ?? "", 16);
  return {
    localAddress: addressOf(local),
    localPort: hex(localPort),
    remoteAddress: addressOf(remote),
    remotePort: hex(remotePort),
    state: hex(state),
    uid: Number(uid),
    inode,
  };
}

/**
 * The kernel writes each 32 bits in the byte order of the machine, which is little-endian wherever Bun runs.
 */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, "hex");
  for (let word = 0; word < bytes.length; word += 4) bytes.subarray(word, word + 4).reverse();
  if (bytes.length === 4) return bytes.join(".");
  return Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(group * 2).toString(16)).join(":");
}

/**
 * Returns who listens on `port`: "nginx (pid 812)", "a program of user 33"; undefined when no listener is
 * found.
 */
export async function portHolder(port: number): Promise<string | undefined> {
  const listening = socketsAt(await readTcpTables(), port).filter(
    ({ state, localPort }) => state === LISTEN && localPort === port,
  );
  const [first] = listening;
  if (first === undefined) return undefined;
  const pid = await processWith(new Set(listening.map(({ inode }) => `socket:[${inode}]`)));
  return pid === undefined ? `a program of user ${first.uid}` : `${processName(pid)} (pid ${pid})`;
}

/** Returns the first process that has one of these open. Only root sees those of other users. */
async function processWith(links: ReadonlySet<string>): Promise<number | undefined> {
  const pids = (await readdir("/proc")).map(Number).filter((pid) => pid > 0);
  for (const pid of pids.toSorted((a, b) => a - b)) {
    const directory = `/proc/${pid}/fd`;
    const descriptors = await readdir(directory).catch(() => []);
    const targets = await Promise.all(
      descriptors.map((name) => readlink(`${directory}/${name}`).catch(() => "")),
    );
    if (targets.some((target) => links.has(target))) return pid;
  }
  return undefined;
}
