// The files by which commands find what runs here: private, believed only when they are ours, gone afterwards.
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { announcementPlace } from "../../../src/platform/announce.ts";
import { announceSandbox, findSandboxes } from "../../../src/sandbox/announce.ts";

let temporary: string;
let directory: string;
beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), "announce-test-"));
  directory = join(temporary, `noderax-${process.getuid?.() ?? 0}`);
});
afterEach(() => rmSync(temporary, { recursive: true }));

const ours = { url: "http://127.0.0.1:1234", operatorToken: "a-token" };
const file = (pid = process.pid): string => join(directory, `sandbox-${pid}.json`);
const found = (): string[] => findSandboxes(temporary).map(({ url }) => url);

/** The announcement of this process as that of another one. */
function announceFor(pid: number, change: object): void {
  const announcement = JSON.parse(readFileSync(file(), "utf8")) as object;
  writeFileSync(file(pid), JSON.stringify({ ...announcement, pid, ...change }), { mode: 0o600 });
}

test("an announced sandbox is found, by this user only, until it is withdrawn", () => {
  const announcement = announceSandbox(ours, temporary);
  expect(findSandboxes(temporary)).toMatchObject([{ ...ours, pid: process.pid }]);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
  announcement[Symbol.dispose]();
  expect(found()).toEqual([]);
});

test("announcements are in TMPDIR, else in the runtime directory where it is this user's, else in /tmp", () => {
  const user = statSync(temporary).uid;
  expect(announcementPlace({ TMPDIR: temporary, XDG_RUNTIME_DIR: "/elsewhere" }, 4711)).toBe(temporary);
  expect(announcementPlace({ XDG_RUNTIME_DIR: temporary }, user === 0 ? 4711 : user)).toBe(
    user === 0 ? "/tmp" : temporary,
  );
  expect(announcementPlace({ XDG_RUNTIME_DIR: "/proc" }, 4711)).toBe("/tmp");
  expect(announcementPlace({}, 4711)).toBe("/tmp");
});

test("the directory goes with the last announcement", () => {
  announceSandbox(ours, temporary)[Symbol.dispose]();
  expect(existsSync(directory)).toBe(false);
});

test("two sandboxes are both found, and neither takes the other's announcement away", async () => {
  const announcement = announceSandbox(ours, temporary);
  await using other = Bun.spawn(["sleep", "60"]);
  const { startTime } = (await import("../../../src/platform/processes.ts")).identify(other.pid) ?? {};
  announceFor(other.pid, { start_time: startTime, document: { url: "http://other", operator_token: "t" } });
  expect(found().toSorted()).toEqual(["http://127.0.0.1:1234", "http://other"]);
  announcement[Symbol.dispose]();
  expect(found()).toEqual(["http://other"]);
});

test("a directory that others may enter is neither used nor believed", () => {
  announceSandbox(ours, temporary);
  chmodSync(directory, 0o755);
  expect(found()).toEqual([]);
  expect(() => announceSandbox(ours, temporary)).toThrow(/belongs to somebody else or is open to others/);
});

test("a symbolic link in place of the directory is refused", () => {
  const elsewhere = join(temporary, "elsewhere");
  mkdirSync(elsewhere, { mode: 0o700 });
  symlinkSync(elsewhere, directory);
  expect(() => announceSandbox(ours, temporary)).toThrow();
  expect(readdirSync(elsewhere)).toEqual([]);
});

test("what a killed sandbox left behind is ignored and removed by the next, also when its number is in use again", async () => {
  const gone = Bun.spawn(["true"]);
  await gone.exited;
  using _announcement = announceSandbox(ours, temporary);
  announceFor(gone.pid, {});
  // Our number, another start.
  announceFor(process.pid, { start_time: "1" });
  expect(found()).toEqual([]);
  announceSandbox(ours, temporary);
  expect(found()).toEqual([ours.url]);
  expect(existsSync(file(gone.pid))).toBeFalse();
});

test("one of another process namespace is not believed, and not removed", () => {
  announceSandbox(ours, temporary);
  announceFor(1, { pid_namespace: "pid:[1]" });
  announceSandbox(ours, temporary);
  expect(found()).toEqual([ours.url]);
  expect(existsSync(file(1))).toBeTrue();
});
