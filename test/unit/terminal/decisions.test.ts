// What is decided about a terminal without touching one: its shell, its environment, its refusal, its end.
import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { seconds } from "../../../src/lib/duration.ts";
import { type Account, currentAccount, runnerFor } from "../../../src/platform/account.ts";
import { hangUp } from "../../../src/platform/processes.ts";
import { tryHere } from "../../../src/platform/trial.ts";
import { EXIT_REASON_MAX } from "../../../src/protocol/noderax/terminal.ts";
import { parseRegistration } from "../../../src/terminal/pty/flow-control.ts";
import { decodeInput } from "../../../src/terminal/input.ts";
import { type StartConditions, refusalOf } from "../../../src/terminal/refusal.ts";
import { clip, endOf } from "../../../src/terminal/session-end.ts";
import { shellCandidates, shellEnvironment, shellStarts } from "../../../src/terminal/shell.ts";
import { createUnknownSessions } from "../../../src/terminal/unknown-sessions.ts";
import { until } from "../../support/until.ts";
import { scratchDirectory } from "../identity/scratch.ts";
import { alive } from "./harness.ts";

setDefaultTimeout(150_000);

const ada: Account = { name: "ada", uid: 1000, gid: 1000, home: "/home/ada", shell: "/usr/bin/fish" };
const asIs = (path: string): string => path;

test("the account's own shell comes first, then bash, zsh and sh wherever they are", () => {
  const candidates = shellCandidates(ada, false, asIs);
  expect(candidates.slice(0, 3)).toEqual(["/usr/bin/fish", "/bin/bash", "/usr/bin/bash"]);
  expect(candidates.findIndex((path) => path.endsWith("zsh"))).toBeLessThan(candidates.indexOf("/bin/sh"));
});

test.each(["/usr/sbin/nologin", "/bin/false", "/sbin/nologin"])("%s is no shell", (shell) => {
  expect(shellCandidates({ ...ada, shell }, false, asIs)[0]).toBe("/bin/bash");
});

test("root gets none but the three, and no file is tried twice", () => {
  expect(shellCandidates({ ...ada, uid: 0 }, true, asIs)).not.toContain("/usr/bin/fish");
  const merged = shellCandidates(ada, false, (path) => path.replace(/^\/bin\//, "/usr/bin/"));
  expect(merged).not.toContain("/usr/bin/bash");
  expect(new Set(merged).size).toBe(merged.length);
  expect(shellCandidates(ada, false, (path) => (path === "/bin/sh" ? path : undefined))).toEqual(["/bin/sh"]);
});

test("a shell that cannot be executed is found out before a terminal is opened for it", async () => {
  const runner = runnerFor(currentAccount());
  expect(await shellStarts("/bin/sh", runner, tryHere)).toBe(true);
  for (const shell of ["/no/such/shell", "/bin/false", "/etc/passwd", "/"])
    expect(await shellStarts(shell, runner, tryHere)).toBe(false);
});

test("a shell whose start-up file ends with a failure has started all the same", async () => {
  using directory = scratchDirectory();
  const path = directory.at("shell");
  writeFileSync(path, '#!/bin/sh\nfalse\neval "$2"\n', { mode: 0o755 });
  expect(await shellStarts(path, runnerFor(currentAccount()), tryHere)).toBe(true);
});

test("the language is the agent's where it is UTF-8, else plain UTF-8", () => {
  const language = (own: string | undefined) => shellEnvironment("id", ada, "/bin/sh", own)["LANG"];
  expect(["de_DE.UTF-8", "C.utf8", "C", "de_DE@euro", "x\ny.UTF-8", undefined].map(language)).toEqual([
    "de_DE.UTF-8",
    "C.utf8",
    "C.UTF-8",
    "C.UTF-8",
    "C.UTF-8",
    "C.UTF-8",
  ]);
});

const fine: StartConditions = {
  allowed: true,
  open: 0,
  limit: 2,
  asRoot: false,
  rootAccess: { profile: () => "off", refusal: () => undefined },
  stopping: false,
};

test("no refusal reads like what screens hide", () => {
  const refusals = [
    refusalOf({ ...fine, allowed: false }),
    refusalOf({ ...fine, open: 2 }),
    refusalOf({ ...fine, stopping: true }),
    refusalOf({ ...fine, asRoot: true }),
    refusalOf({ ...fine, asRoot: true, rootAccess: { profile: () => "all", refusal: () => "no" } }),
  ];
  expect(refusalOf(fine)).toBeUndefined();
  for (const profile of ["terminal", "all", "task_terminal"] as const)
    expect(
      refusalOf({ ...fine, asRoot: true, rootAccess: { ...fine.rootAccess, profile: () => profile } }),
    ).toBeUndefined();
  for (const refusal of refusals) {
    expect(refusal).toBeString();
    expect(refusal).not.toMatch(
      /timed out|rate limit exceeded|transport close|websocket error|no longer available|session.*(closed|ended|finished)/i,
    );
  }
});

test("how it ended, for the control plane", () => {
  expect(endOf({ exitCode: 0, signal: null }, undefined)).toEqual({ exitCode: 0, reason: undefined });
  expect(endOf({ exitCode: 7, signal: null }, "stopped")).toEqual({ exitCode: 7, reason: "stopped" });
  expect(endOf({ exitCode: null, signal: "SIGHUP" }, "stopped")).toEqual({
    exitCode: 129,
    reason: "stopped",
  });
  expect(endOf({ exitCode: null, signal: null }, undefined)).toEqual({ exitCode: null, reason: undefined });
  expect(endOf({ exitCode: 1, signal: null }, "x".repeat(900)).reason).toHaveLength(EXIT_REASON_MAX);
});

test("a text is cut between characters, and has none that a database refuses", () => {
  expect(clip("ab😀", 3)).toBe("ab");
  expect(clip("a\0b\uD800", 20)).toBe("a\\x00b\uFFFD");
});

test("input is base64 of the standard alphabet within the limit, and nothing else", () => {
  expect(Buffer.from(decodeInput("aGk=") ?? []).toString()).toBe("hi");
  expect(Buffer.from(decodeInput("aGk") ?? []).toString()).toBe("hi");
  expect(decodeInput("")).toHaveLength(0);
  expect(decodeInput("A".repeat(32_768))).toHaveLength(24_576);
  for (const payload of ["A", "a-_b", "aGk==", "a=Gk", "aGk=\n", "A".repeat(32_772)])
    expect(decodeInput(payload)).toBeUndefined();
});

test("an unknown session is answered once in five seconds, however many there are", () => {
  let now = 0;
  const unknownSessions = createUnknownSessions(() => now);
  expect([
    unknownSessions.mayAnswer("a"),
    unknownSessions.mayAnswer("a"),
    unknownSessions.mayAnswer("b"),
  ]).toEqual([true, false, true]);
  now = seconds(5);
  expect(unknownSessions.mayAnswer("a")).toBe(true);
  for (let n = 0; n < 5_000; n++) unknownSessions.mayAnswer(`x${n}`);
  // Forgotten rather than kept for ever.
  expect(unknownSessions.mayAnswer("a")).toBe(true);
});

test.each([
  ["what hears the hang-up ends by it", "", "SIGHUP"],
  ["what is deaf to it ends by SIGTERM", "trap '' HUP;", "SIGTERM"],
  ["what is deaf to both ends by SIGKILL", "trap '' HUP TERM;", "SIGKILL"],
])("%s", async (_, trap, signal) => {
  const child = Bun.spawn(["/bin/sh", "-c", `${trap} echo up; while :; do sleep 0.02; done`], {
    stdout: "pipe",
    stdin: "ignore",
  });
  await child.stdout.getReader().read();
  expect(await hangUp(() => (alive(child.pid) ? [child.pid] : []), seconds(2))).toBe(true);
  await child.exited;
  expect(String(child.signalCode)).toBe(signal);
});

test("what stands still is woken up to hear of its end", async () => {
  const child = Bun.spawn(["/bin/sh", "-c", "trap 'exit 3' HUP; kill -STOP $$; sleep 100"], {
    stdin: "ignore",
  });
  await until("it stands still", () =>
    readFileSync(`/proc/${child.pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .startsWith("T"),
  );
  expect(await hangUp(() => (alive(child.pid) ? [child.pid] : []), seconds(4))).toBe(true);
  expect(await child.exited).toBe(3);
});

test("what the kernel says of an epoll is read as it writes it", () => {
  const text = [
    "pos:\t0\nflags:\t02000002",
    "tfd:        7 events: 40000019 data:  800020b88530028  pos:0 ino:5b sdev:6",
    "tfd:       17 events:       19 data:             1f  pos:0 ino:5b sdev:6",
  ].join("\n");
  expect(parseRegistration(text, 7)).toEqual({ events: 0x40000019, data: 0x800020b88530028n });
  expect(parseRegistration(text, 17)).toEqual({ events: 0x19, data: 0x1fn });
  expect(parseRegistration(text, 1)).toBeUndefined();
  expect(parseRegistration("", 7)).toBeUndefined();
});
