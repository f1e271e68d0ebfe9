// Promises to a person at a terminal: questions, a line that moves, Ctrl-C, and a terminal that is left as it was.
import { expect, setDefaultTimeout, test } from "bun:test";
import { enrolled, machine, startSandbox } from "../support/dev.ts";
import { inTerminal } from "../support/screen.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(150_000);

test("enroll asks for address and e-mail, shows token and expiry, waits with a moving line, and is done", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  using person = inTerminal(host, ["enroll", "--hostname", "web-01"]);
  await person.shows("Control plane URL: ");
  person.type(`${sandbox.url}\r`);
  await person.shows("E-mail of the person who approves: ");
  person.type("ops@example.com\r");
  await person.shows(/Token {6}\S+ {3}\(expires in 1[45]m.*\)/);
  await person.shows("approves it for ops@example.com");
  await person.shows(/⠋ waiting for approval …[^]*⠙ waiting for approval …/);
  const [, token = ""] = /Token {6}(\S+)/.exec(person.text()) ?? [];
  await sandbox.call("POST", "/enrollments/approve", { token });
  await person.shows("✓ approved as node web-01 (");
  expect(await person.exited).toBe(0);
  expect(person.text()).toContain("Start it:  noderax-agent run");
  // What stood on the spinner's line is wiped before the outcome is written, not left half there.
  const [, outcome] = person.screen().split("left\r\u001b[K").slice(-2);
  expect(Bun.stripANSI(outcome ?? "")).toStartWith("✓ approved");
});

test("enroll takes an address without a scheme for https", async () => {
  using host = machine();
  using person = inTerminal(host, ["enroll", "--email", "ops@example.com"]);
  await person.shows("Control plane URL: ");
  person.type("127.0.0.1:1\r");
  await person.shows(
    /error: cannot reach https:\/\/127\.0\.0\.1:1: connection refused[^]*Control plane URL: /,
  );
  person.type("\u0003");
  expect(await person.exited).toBe(130);
});

test.each([
  ["Ctrl-C", "\u0003"],
  ["Ctrl-D", "\u0004"],
])("%s at a question ends enroll with 130", async (_, key) => {
  using host = machine();
  using person = inTerminal(host, ["enroll"]);
  await person.shows("Control plane URL: ");
  person.type(key);
  expect(await person.exited).toBe(130);
});

test("Ctrl-C while waiting ends enroll with 130 and says that it can go on", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  const args = ["enroll", "--api-url", sandbox.url, "--email", "ops@example.com"];
  using person = inTerminal(host, args);
  await person.shows("waiting for approval");
  person.type("\u0003");
  expect(await person.exited).toBe(130);
  expect(person.text()).toContain("the enrollment stays open");
  expect(person.text()).toContain("Go on with it:  noderax-agent enroll");
});

test("dev says what it is, where to go next, and ends on Ctrl-C", async () => {
  using host = machine();
  using person = inTerminal(host, ["dev", "--port", "0"]);
  await person.shows("Ctrl-C stops everything");
  expect(person.text()).toMatch(/control plane {3}http:\/\/127\.0\.0\.1:\d+/);
  expect(person.text()).toMatch(/node {12}demo-1 · online · \d+\.\d+ s after start/);
  const [, line = ""] = /^ +(\S+ sandbox task demo-1 '.+')\r?$/m.exec(person.text()) ?? [];
  // What it says to type works as it stands.
  const { code, stdout } = await host.run(["-c", line], { file: "/bin/sh" });
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining("Linux") });
  person.type("\u0003");
  expect(await person.exited).toBe(130);
});

test("run logs for people on a terminal, and a second Ctrl-C while it stops does no harm", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, "web-01");
  using person = inTerminal(host, ["run"]);
  await person.shows(/^\d\d:\d\d:\d\d info {2}agent +noderax-agent \S+ started/m);
  // A claim is under way now, which a first Ctrl-C gives a moment to end.
  await sandbox.sees(await sandbox.order("web-01", "true"), "success");
  person.type("\u0003");
  await person.shows("SIGINT: stopping; running tasks and containers go on");
  person.type("\u0003");
  // On a busy machine the stop may be over before the second key arrives; the exit code is the same.
  expect(await person.exited).toBe(130);
});
