// Which users of this machine can do what the agent does for them anyway: root, the agent's own user, and those who may use
// the socket of Docker.
import { statSync } from "node:fs";
import { type Duration, seconds } from "../lib/duration.ts";
import { isInGroup } from "./account.ts";
import { steadyNow } from "../lib/clock.ts";

/** What of the socket's file decides. */
export interface SocketOwner {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

const GROUP_MAY_WRITE = 0o020;

export function isTrustedUser(
  uid: number,
  own: number | undefined,
  socket: SocketOwner | undefined,
  isMember: (uid: number, gid: number) => boolean,
): boolean {
  if (uid === 0 || uid === own) return true;
  if (socket === undefined) return false;
  return uid === socket.uid || ((socket.mode & GROUP_MAY_WRITE) !== 0 && isMember(uid, socket.gid));
}

/** The name services may be asked for each answer, which takes a process. */
const REMEMBERED: Duration = seconds(10);
/** Whoever has many user ids must not fill the memory with them. */
const USERS_MAX = 256;

/** `socketPath`: of Docker; undefined where Docker is asked over the network, which every user can do. */
export function createTrustedUsers(socketPath: string | undefined): (uid: number) => boolean {
  const known = new Map<number, { readonly trusted: boolean; readonly until: number }>();
  return (uid) => {
    const now = steadyNow();
    const before = known.get(uid);
    if (before !== undefined && now < before.until) return before.trusted;
    const trusted = isTrustedNow(uid, socketPath);
    if (known.size >= USERS_MAX) known.clear();
    known.set(uid, { trusted, until: now + REMEMBERED });
    return trusted;
  };
}

function isTrustedNow(uid: number, socketPath: string | undefined): boolean {
  const socket = socketPath === undefined ? undefined : ownerOf(socketPath);
  return isTrustedUser(uid, process.getuid?.(), socket, (user, group) => {
    try {
      return isInGroup(user, group);
    } catch {
      return false; // There are no databases of users and groups.
    }
  });
}

/** Undefined where it is not there, or lies where this user may not look. */
function ownerOf(path: string): SocketOwner | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}
