// What a service tells systemd about itself: datagrams to the socket that NOTIFY_SOCKET names. The runtime has no datagram
// sockets, so the C library is called; where that cannot be done, `systemd-notify` is started for each message.
import { type Duration, milliseconds } from "../lib/duration.ts";
import { SYSTEM_PATH } from "./account.ts";
import { openLibc } from "./libc.ts";

export interface ServiceManager {
  /** Lines like "READY=1". Does nothing where nobody asked for them. Never throws: the service goes on without. */
  notify(message: string): void;
  /** The service is killed when it says nothing for so long; undefined where nobody looks. */
  readonly watchdog: Duration | undefined;
}

const NAMES = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] as const;
const AF_UNIX = 1;
/** SOCK_DGRAM, SOCK_CLOEXEC, SOCK_NONBLOCK: the agent must not wait for a manager that does not read. */
const SOCKET_TYPE = 2 | 0o2_000_000 | 0o4_000;
const MSG_NOSIGNAL = 0x4000;
/** Of sun_path. */
const PATH_MAX = 108;

/** Takes the variables out of `env`, so that no child speaks for us. */
export async function serviceManager(
  env: Record<string, string | undefined> = process.env,
): Promise<ServiceManager> {
  const [socket, usec, pid] = NAMES.map((name) => env[name]);
  for (const name of NAMES) delete env[name];
  const watchdog = watchdogTime(usec, pid);
  const address = socket === undefined ? undefined : socketAddress(socket);
  if (socket === undefined || address === undefined) return { notify() {}, watchdog: undefined };
  const send = (await datagrams(address)) ?? viaProgram(socket);
  return {
    notify(message) {
      try {
        send(message);
      } catch {
        // Systemd will say that it heard nothing.
      }
    },
    watchdog,
  };
}

/** Undefined where none is asked of this process. Pure. */
export function watchdogTime(
  usec: string | undefined,
  pid: string | undefined,
  own = process.pid,
): Duration | undefined {
  if (pid !== undefined && pid !== "" && Number(pid) !== own) return undefined;
  const time = Number(usec ?? "");
  return time > 0 && Number.isFinite(time) ? milliseconds(time / 1_000) : undefined;
}

/** A sockaddr_un; undefined for a path that is too long or of another kind (vsock). Pure. */
export function socketAddress(name: string): Uint8Array | undefined {
  if (!/^[/@]/.test(name)) return undefined;
  // An abstract name begins with a zero byte, and its length says where it ends.
  const path = Buffer.from(name.startsWith("@") ? `\0${name.slice(1)}` : `${name}\0`);
  if (path.length > PATH_MAX) return undefined;
  const address = Buffer.alloc(2 + path.length);
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_UNIX;
  path.copy(address, 2);
  return address;
}

async function datagrams(address: Uint8Array): Promise<((message: string) => void) | undefined> {
  const libc = await openLibc({
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
  });
  const socket = libc?.socket(AF_UNIX, SOCKET_TYPE, 0) ?? -1;
  if (libc === undefined || socket < 0) return undefined;
  return (message) => {
    const bytes = Buffer.from(message);
    libc.sendto(socket, bytes, bytes.length, MSG_NOSIGNAL, address, address.length);
  };
}

/** systemd takes its word as ours, since it is our child and root's. */
const viaProgram =
  (socket: string) =>
  (message: string): void => {
    const env = { PATH: SYSTEM_PATH, NOTIFY_SOCKET: socket };
    Bun.spawnSync(["systemd-notify", ...message.split("\n")], { env, stdin: "ignore" });
  };
