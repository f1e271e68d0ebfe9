// Which user is at the other end of a connection, and which users of the machine are admitted.
import { describe, expect, test } from "bun:test";
import { chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { usersOf } from "../../../src/listener/local-client.ts";
import type { TcpSocket } from "../../../src/platform/tcp-sockets.ts";
import { createTrustedUsers, isTrustedUser } from "../../../src/platform/trusted-users.ts";

const socket = (change: Partial<TcpSocket> = {}): TcpSocket => ({
  localAddress: "127.0.0.1",
  localPort: 50_000,
  remoteAddress: "127.0.0.1",
  remotePort: 9_090,
  state: 1,
  uid: 1_001,
  inode: "7",
  ...change,
});
const asked = { address: "127.0.0.1", port: 50_000, serverPort: 9_090 };

describe("the user of a connection", () => {
  test("is that of the client's socket, also where either end is written as IPv6", () => {
    expect(usersOf([socket()], asked)).toEqual([1_001]);
    expect(usersOf([socket()], { ...asked, address: "::ffff:127.0.0.1" })).toEqual([1_001]);
    expect(usersOf([socket({ localAddress: "0:0:0:0:0:ffff:7f00:1" })], asked)).toEqual([1_001]);
  });

  test.each([
    ["the server's own", { localPort: 9_090, remotePort: 50_000 }],
    ["a connection to another port", { remotePort: 9_091 }],
    ["one from another port", { localPort: 50_001 }],
    ["one from another address", { localAddress: "10.0.0.5" }],
  ])("is not that of %s", (_, change) => expect(usersOf([socket({ uid: 0, ...change })], asked)).toEqual([]));

  test("is unknown once the socket is closed, which the kernel shows as root's", () => {
    expect(usersOf([socket({ uid: 0, inode: "0", state: 5 })], asked)).toEqual([]);
    expect(usersOf([socket({ uid: 0, inode: "0", state: 5 }), socket({ uid: 0 })], asked)).toEqual([]);
  });

  test("is each of those that share an address and a port", () => {
    const other = socket({ uid: 0, remoteAddress: "10.0.0.5" });
    expect(usersOf([other, socket()], asked)).toEqual([0, 1_001]);
  });
});

function temporary(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "noderax-users-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

describe("a user of this machine", () => {
  const owner = { uid: 0, gid: 999, mode: 0o140_660 };
  const isMember = (uid: number, gid: number): boolean => uid === 1_000 && gid === 999;
  const trusted = (uid: number, socket?: typeof owner, own = 500): boolean =>
    isTrustedUser(uid, own, socket, isMember);

  test("may as root, as the agent's user, as the owner or in the group of Docker's socket", () => {
    expect([0, 500, 1_000].map((uid) => trusted(uid, owner))).toEqual([true, true, true]);
    expect(trusted(1_001, { ...owner, uid: 1_001 })).toBe(true);
  });

  test("may as the owner of a real socket, and no other user by a missing one", () => {
    using place = temporary();
    const path = join(place.path, "docker.sock");
    expect(createTrustedUsers(path)(54_321)).toBe(false);
    writeFileSync(path, "", { mode: 0o660 });
    if (process.getuid?.() === 0) chownSync(path, 54_321, 54_321);
    const users = createTrustedUsers(path);
    expect(users(statSync(path).uid)).toBe(true);
    expect(users(54_322)).toBe(false);
  });

  test("may not otherwise, nor by a group that may not write, nor where there is no socket", () => {
    expect(trusted(1_001, owner)).toBe(false);
    expect(trusted(1_000, { ...owner, mode: 0o140_600 })).toBe(false);
    expect(trusted(1_000)).toBe(false);
  });
});
