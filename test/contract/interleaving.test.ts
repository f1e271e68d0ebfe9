// For any interleaving of output, outages, frozen servers, crashes and a cancel: one final state, one completion, and a log
// that tells everything the node has kept, in order, or says what it leaves out.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import { isFinal } from "../../src/protocol/noderax/tasks.ts";
import { NO_FAULTS } from "../../src/sandbox/faults.ts";
import { type ProcessNode, enrolledProcess } from "../support/agent.ts";
import { type TaskHandle } from "../support/task.ts";
import { elapse, until } from "../support/until.ts";

/** No new run begins after this. */
const BUDGET = seconds(11);
setDefaultTimeout(BUDGET + seconds(90));
const REQUEST_TIMEOUT = seconds(1);

/** So many lines, then a pause in milliseconds. */
const burst = fc.record({
  lines: fc.constantFrom(1, 7, 40, 3_000, 60_000),
  pause: fc.integer({ min: 0, max: 400 }),
});

const fault = fc.constantFrom(
  { errorRate: 0.4 },
  { lostAnswers: 0.4 },
  { errorRate: 1 },
  { delay: 60 },
  { lostAnswers: 1, routes: ["logs", "completed", "started"] },
  { databaseDown: true },
);

/** What happens around the command, each after a while. */
const event = fc.record({
  after: fc.integer({ min: 0, max: 350 }),
  what: fc.oneof(
    { weight: 3, arbitrary: fc.constant({ do: "crash" as const }) },
    { weight: 2, arbitrary: fc.constant({ do: "outage" as const }) },
    { weight: 2, arbitrary: fc.constant({ do: "freeze" as const }) },
    { weight: 3, arbitrary: fault.map((faults) => ({ do: "faults" as const, faults })) },
    { weight: 2, arbitrary: fc.constant({ do: "calm" as const }) },
    { weight: 1, arbitrary: fc.constant({ do: "cancel" as const }) },
  ),
});
type Event = typeof event extends fc.Arbitrary<infer T> ? T : never;

async function happen(node: ProcessNode, task: TaskHandle, { after, what }: Event): Promise<void> {
  await elapse(after);
  if (what.do === "crash") {
    await node.dies();
    await node.starts();
  } else if (what.do === "outage") {
    await node.plane.goesAway();
    await elapse(after);
    await node.plane.comesBack();
  } else if (what.do === "freeze") {
    // Beginning with the first row, so that the next one is sent to a server that does not answer.
    for (let waits = 0; waits < 50 && task.rows().length === 0; waits++) await elapse(milliseconds(10));
    node.sandbox.setFaults({ freeze: true });
    // Requests are given up meanwhile, and handled nevertheless afterwards, in any order.
    await elapse(REQUEST_TIMEOUT + 4 * after);
    node.sandbox.setFaults({ freeze: false });
  } else if (what.do === "faults") node.sandbox.setFaults({ ...NO_FAULTS, seed: after, ...what.faults });
  else if (what.do === "calm") node.sandbox.setFaults(NO_FAULTS);
  else if (!isFinal(task.document().status)) task.cancels("enough");
}

/** Lines are numbers that count up, so a gap of n lines moves the next one by n. */
function tellsAll(task: TaskHandle): void {
  const rows = task.rows();
  expect(rows.length).toBeLessThanOrEqual(100);
  const kept = existsSync(join(task.directory, "stdout.log")) ? task.kept("stdout").toString() : "";
  let next = 1;
  for (const { level, line } of rows) {
    if (level === "stderr") expect(line).toMatch(/^(Terminated|Killed)?$/);
    else if (level === "stdout") for (const each of line.split("\n")) expect(each).toBe(String(next++));
    else
      next += Number(
        /^… ([\d ]+) lines? .* of stdout not shown here/.exec(line)?.[1]?.replaceAll(" ", "") ?? 0,
      );
  }
  expect(next - 1).toBe(kept.split("\n").length - 1);
}

async function holds(bursts: { lines: number; pause: number }[], events: Event[]): Promise<void> {
  await using node = await enrolledProcess({
    sandbox: { timings: { claimLease: 1_500, sweepInterval: 200 } },
    settings: {
      task_poll_interval: "500ms",
      task_kill_grace: "300ms",
      request_timeout: `${REQUEST_TIMEOUT}ms`,
    },
  });
  const marker = node.file("ran");
  let total = 0;
  const parts = bursts.map(({ lines, pause }) => {
    const from = total + 1;
    total += lines;
    return `seq ${from} ${total}; sleep ${pause / 1_000}`;
  });
  const task = node.runs(`echo x >> ${marker.path}; ${parts.join("; ")}`);
  for (const each of events) await happen(node, task, each);
  node.sandbox.setFaults(NO_FAULTS);

  const { status } = await task.becomes("final", (document) => isFinal(document.status), seconds(40));
  await until(
    "the agent is done with it and has nothing to send",
    async () => {
      const { noderax } = await node.status();
      return noderax?.tasks.length === 0 && noderax.outbox.waiting === 0;
    },
    seconds(40),
    () => task.story(),
  );
  const end = task.document();
  expect(end.status).toBe(status);
  // It ran once, or — cancelled before its start — never.
  expect(marker.text() ?? "").toBe(status === "cancelled" && marker.text() === undefined ? "" : "x\n");
  if (status !== "cancelled") expect(status).toBe("success");
  try {
    tellsAll(task);
  } catch (error) {
    throw new Error(task.story(), { cause: error });
  }
  expect(task.document()).toEqual(end);
}

describe.concurrent("any interleaving", () => {
  const bursts = fc.array(burst, { minLength: 1, maxLength: 3 });
  const events = fc.array(event, { maxLength: 6 });
  test.each([1, 2, 3])("of output, outages, frozen servers, crashes and a cancel (%d)", async () => {
    const end = performance.now() + BUDGET;
    let runs = 0;
    const property = fc.asyncProperty(bursts, events, async (output, around) => {
      if (performance.now() > end) return;
      await holds(output, around);
      runs++;
    });
    // The seed and the interleaving stand in the error; to shrink it would take minutes.
    await fc.assert(property, { numRuns: 60, endOnFailure: true });
    expect(runs).toBeGreaterThan(0);
  });
});
