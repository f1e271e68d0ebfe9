// A 401 proves nothing by itself: the heartbeat decides what it meant, and any accepted call ends the doubt.
import { expect, jest, test } from "bun:test";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { type AuthStatus, createAuthState } from "../../../src/identity/auth-state.ts";
import { type Log, silent } from "../../../src/platform/log.ts";

const signal = new AbortController().signal;
const status = (code: number): AgentError =>
  new AgentError("http.status", `answer ${code}`, { status: code });

/** A log that keeps what was said. */
function remembering(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const note =
    (level: string) =>
    (_: string, event: string): void =>
      void lines.push(`${level}: ${event}`);
  return { lines, debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
}

test("before anything was heard the status is unknown", () => {
  expect(createAuthState(() => Promise.resolve(), silent).status()).toBe("unknown");
});

test.each<[string, unknown, AuthStatus]>([
  ["accepts us", undefined, "suspect"],
  ["refuses us with 401", status(401), "refused"],
  ["knows no such node", status(404), "deleted"],
  ["is refused with 403 by something in between", status(403), "suspect"],
  ["is throttled", status(429), "suspect"],
  ["fails", status(500), "suspect"],
  ["cannot be reached", new AgentError("net.refused", "no"), "suspect"],
  ["meets a bug of ours", new TypeError("x"), "suspect"],
])("a 401 of a task route, and a heartbeat that %s", async (_, answer, standing) => {
  const auth = createAuthState(
    () => (answer === undefined ? Promise.resolve() : Promise.reject(answer)),
    silent,
  );
  auth.accepted("task");
  expect(await auth.doubted(signal)).toBe(standing);
  expect(auth.status()).toBe(standing);
});

test("an accepted call makes any status ok", async () => {
  for (const answer of [status(401), status(404), status(500)]) {
    const auth = createAuthState(() => Promise.reject(answer), silent);
    await auth.doubted(signal);
    auth.accepted("task");
    expect(auth.status()).toBe("ok");
  }
});

test("a change is said once, with the reason, and so is the way back", async () => {
  const log = remembering();
  const auth = createAuthState(() => Promise.reject(status(401)), log);
  auth.accepted("task");
  for (let round = 0; round < 5; round++) await auth.doubted(signal);
  auth.accepted("task");
  auth.accepted("task");
  expect(log.lines).toEqual([
    "error: refused: answer 401; trying again now and then",
    "info: accepted again",
  ]);
});

test("the time of a status is that of the change, not of the last call", async () => {
  jest.useFakeTimers();
  const auth = createAuthState(() => Promise.reject(status(401)), silent);
  await auth.doubted(signal);
  const since = auth.since();
  jest.advanceTimersByTime(1_000);
  await auth.doubted(signal);
  jest.useRealTimers();
  expect(auth.since()).toBe(since);
});

test.each(["refused", "deleted"] as const)(
  "what the session says of us (%s) is believed, and said",
  (standing) => {
    const log = remembering();
    const auth = createAuthState(() => Promise.resolve(), log);
    auth.accepted("session");
    expect(auth.status()).toBe("ok");
    for (let life = 0; life < 3; life++) auth.refused(standing, "Invalid agent token");
    expect(auth.status()).toBe(standing);
    auth.accepted("session");
    expect(auth.status()).toBe("ok");
    expect(log.lines).toEqual([
      `error: ${standing}: Invalid agent token; trying again now and then`,
      "info: accepted again",
    ]);
  },
);

test("a session that lets us in does not clear the doubt about the task routes", async () => {
  const auth = createAuthState(() => Promise.resolve(), silent);
  await auth.doubted(signal);
  auth.accepted("session");
  expect(auth.status()).toBe("suspect");
});
