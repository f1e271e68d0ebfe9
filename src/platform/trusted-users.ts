// Finds the users of this machine who could do without the agent what it does for them: root, the agent's own
// user, and the users of Docker's socket.
import { statSync } from "node:fs";
import { type Duration, seconds } from "../lib/duration.ts";
import { isInGroup } from "./account.ts";
import { type SteadyTime, steadyNow } from "../lib/clock.ts";

/** The attributes of the socket that decide. */
export interface SocketOwner {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

const GROUP_MAY_WRITE = 0o020;

/** True for root, the user `own`, the owner of the socket, and the members of its group if that may write to it. Pure. */
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

/** How long an answer is valid: asking the name services starts a process. */
const REMEMBERED: Duration = seconds(10);
/** Bounds the memory for somebody who has many user ids. */
const USERS_MAX = 256;

/** `socketPath`: of Docker; undefined where Docker is reached over the network, which every user can do. */
export function createTrustedUsers(socketPath: string | undefined): (uid: number) => boolean {
  const known = new Map<number, { readonly trusted: boolean; readonly until: SteadyTime }>();
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

/** Undefined when it does not exist or cannot be read. */
function ownerOf(path: string): SocketOwner | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}
