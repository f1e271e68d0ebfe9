// A row whose call got no answer is stored exactly once, whenever the server stood still and in whatever order it catches up.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { AgentError } from "../../src/lib/agent-error.ts";
import { type Duration, milliseconds, seconds } from "../../src/lib/duration.ts";
import type { TaskApi } from "../../src/control/noderax-api.ts";
import type { OutboxEntry } from "../../src/control/outbox.ts";
import { silent } from "../../src/platform/log.ts";
import type { Task } from "../../src/protocol/noderax/tasks.ts";
import { taskSender } from "../../src/tasks/output/delivery.ts";
import type { Clock } from "../../src/tasks/output/was-stored.ts";

const TASK = "7c1e2d3a-0000-4000-8000-000000000001";

/** The last row of a task is set a moment after the row is stored, as on the real server. */
const OUTPUT_LATER = milliseconds(300);

interface Freeze {
  readonly from: Duration;
  readonly until: Duration;
  /** What came meanwhile is handled within this time after it, in any order. */
  readonly catchUp: Duration;
}

/** A server in virtual time: requests take effect when it handles them, whether or not the agent still waits. */
function serverWith(freeze: Freeze, timeout: Duration, dice: readonly number[]) {
  const rows: string[] = [];
  const effects: { at: number; run: () => void }[] = [];
  let output = "";
  let now = 0;
  let throws = 0;
  const random = (): number => dice[throws++ % dice.length] ?? 0;

  /** One effect at a time, since it may bring another. */
  function advance(to: number): void {
    for (;;) {
      effects.sort((a, b) => a.at - b.at);
      const next = effects[0];
      if (next === undefined || next.at > to) break;
      effects.shift();
      now = next.at;
      next.run();
    }
    now = to;
  }

  const handledAt = (): number =>
    now >= freeze.from && now < freeze.until
      ? freeze.until + freeze.catchUp * random()
      : now + milliseconds(20) * random();

  /** `effect` happens when the request is handled; its answer comes `work` later, unless we have given up. */
  function request<T>(effect: () => void, work: Duration, answer: () => T): Promise<T> {
    const sent = now;
    const at = handledAt();
    effects.push({ at, run: effect });
    if (at + work - sent > timeout) {
      advance(sent + timeout);
      return Promise.reject(new AgentError("net.timeout", "no answer"));
    }
    advance(at);
    const answered = answer();
    advance(at + work);
    return Promise.resolve(answered);
  }

  const api: Pick<TaskApi, "log" | "started"> = {
    log({ line }) {
      const stored = (): void => {
        rows.push(line);
        effects.push({ at: now + OUTPUT_LATER * random(), run: () => void (output = line) });
      };
      return request(stored, milliseconds(5), () => ({ id: "1" }));
    },
    started: () =>
      request(
        () => {},
        milliseconds(5),
        (): Task => ({
          id: TASK,
          type: "shell.exec",
          status: "running",
          output,
          payload: {},
          startedAt: null,
        }),
      ),
  };
  const clock: Clock = {
    now: () => now,
    sleep(pause) {
      advance(now + pause);
      return Promise.resolve();
    },
  };
  return { api: api as TaskApi, clock, rows, advance, now: () => now };
}

/** As the outbox does: until it is delivered, with a pause between the tries. */
async function deliver(server: ReturnType<typeof serverWith>, lines: readonly string[]): Promise<void> {
  const refuse = (): never => {
    throw new Error("no row is refused here");
  };
  const sender = taskSender(
    { api: server.api, log: silent, onOver: refuse, onRefusedRow: refuse },
    server.clock,
  );
  const signal = new AbortController().signal;
  for (const [id, line] of lines.entries()) {
    const body = JSON.stringify({ taskId: TASK, stream: "stdout", line, timestamp: "2026-01-01T00:00:00Z" });
    for (let attempts = 0; ; attempts++) {
      const entry: OutboxEntry = { id, queue: TASK, kind: "log", body, attempts, doubtful: attempts > 0 };
      const done = await sender(entry, signal).then(
        () => true,
        () => false,
      );
      if (done) break;
      if (attempts > 100) throw new Error("never delivered");
      await server.clock.sleep(Math.min(seconds(60), seconds(1) * 2 ** attempts), signal);
    }
  }
  server.advance(server.now() + seconds(300));
}

test("a server that stands still at any moment, for any time: every row once, in order", async () => {
  const cases = fc.record({
    from: fc.nat(seconds(1)),
    length: fc.nat(seconds(90)),
    timeout: fc.integer({ min: seconds(1), max: seconds(20) }),
    /** How much of the time-out the server needs to catch up. */
    catchUp: fc.double({ min: 0, max: 0.95, noNaN: true }),
    dice: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 30 }),
  });
  await fc.assert(
    fc.asyncProperty(cases, async ({ from, length, timeout, catchUp, dice }) => {
      const freeze = { from, until: from + length, catchUp: catchUp * (timeout - OUTPUT_LATER) };
      const server = serverWith(freeze, timeout, dice);
      const lines = Array.from({ length: 30 }, (_, n) => `line ${n}`);
      await deliver(server, lines);
      expect(server.rows).toEqual(lines);
    }),
    { numRuns: 300 },
  );
});

test("a server that always takes nine tenths of the time-out is not asked for ever", async () => {
  const freeze = { from: 0, until: 0, catchUp: 0 };
  const server = serverWith(freeze, seconds(10), [0.5]);
  let looks = 0;
  const slow: TaskApi = {
    ...server.api,
    started: async (...call) => {
      looks++;
      await server.clock.sleep(seconds(9), new AbortController().signal);
      return server.api.started(...call);
    },
  };
  const ports = { api: slow, log: silent, onOver() {}, onRefusedRow() {} };
  const body = JSON.stringify({
    taskId: TASK,
    stream: "stdout",
    line: "x",
    timestamp: "2026-01-01T00:00:00Z",
  });
  await taskSender(ports, server.clock)(
    { id: 1, queue: TASK, kind: "log", body, attempts: 1, doubtful: true },
    new AbortController().signal,
  );
  expect(looks).toBe(2);
  expect(server.rows).toEqual(["x"]);
});
