// The journal says where a task stands, whatever happens to the agent; and no task is run twice because of it.
import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { outboxMigration } from "../../../src/control/outbox.ts";
import { epochOf, steadyNow, wallFrom, wallNow } from "../../../src/lib/clock.ts";
import { minutes } from "../../../src/lib/duration.ts";
import { openDatabase } from "../../../src/platform/database.ts";
import { type Moment, momentNow } from "../../../src/platform/moment.ts";
import { bootId } from "../../../src/platform/processes.ts";
import {
  type Launch,
  announcedMigration,
  createOpenClaim,
  journalMigration,
  momentsMigration,
} from "../../../src/tasks/journal.ts";
import { nothingShipped } from "../../../src/tasks/output/rows.ts";
import { TASK, openStore, scratchDirectory } from "./scratch.ts";

/** A moment of this boot, so long after it. */
const at = (steady: number): Moment => ({ boot: bootId(), steady, wall: 1_000_000 + steady });
const task = { id: TASK, type: "shell.exec", payload: { command: "echo 'ü' 😀", environment: { A: "1" } } };
const launch: Launch = {
  at: 30,
  wall: 1_030,
  bootId: "b",
  attempt: 1,
  mode: "session",
  deadline: 99,
  limit: "10m",
};

test("a task goes from the claim to its end, and every step can be read after a restart", () => {
  using directory = scratchDirectory();
  const path = join(directory.path, "agent.db");
  const seen = (): unknown => {
    using store = openStore(path);
    return store.journal.find(TASK);
  };
  const step = (work: (journal: ReturnType<typeof openStore>["journal"]) => void): void => {
    using store = openStore(path);
    work(store.journal);
  };

  step((journal) => journal.claimed(task, at(10)));
  expect(seen()).toEqual({
    id: task.id,
    type: task.type,
    command: task.payload.command,
    phase: "claimed",
    claimedAt: wallFrom(1_000_010),
    claimed: 10,
    started: undefined,
    launch: undefined,
    stop: undefined,
    shipped: nothingShipped,
    outcome: undefined,
    finishedAt: undefined,
  });
  step((journal) => expect(journal.payload(TASK)).toEqual(task.payload));
  step((journal) => journal.started(TASK, at(20)));
  expect(seen()).toMatchObject({ phase: "started", started: 20 });
  step((journal) => journal.launched(TASK, launch));
  expect(seen()).toMatchObject({ phase: "launched", launch });
  const shipped = { rows: 3, lastRowAt: 40, offset: { stdout: 5, stderr: 6 }, lastRow: "x" };
  step((journal) => journal.shipped(TASK, shipped));
  step((journal) => journal.stopping(TASK, { reason: "cancel", text: "enough", at: 50 }));
  expect(seen()).toMatchObject({
    phase: "launched",
    shipped,
    stop: { reason: "cancel", text: "enough", at: 50 },
  });
  const outcome = { status: "cancelled" as const, exitCode: 143, text: "enough" };
  step((journal) => journal.reported(TASK, outcome));
  expect(seen()).toMatchObject({ phase: "reported", outcome });
  step((journal) => journal.finished(TASK, wallFrom(60)));
  expect(seen()).toMatchObject({ phase: "finished", finishedAt: wallFrom(60), launch, shipped, outcome });
});

test.each(["started", "launched", "reported", "finished"] as const)(
  "a task that is %s is never taken for new again",
  (phase) => {
    using store = openStore();
    const { journal } = store;
    journal.claimed(task, at(1));
    journal.started(TASK, at(2));
    if (phase !== "started") journal.launched(TASK, launch);
    if (phase === "reported" || phase === "finished")
      journal.reported(TASK, { status: "success", exitCode: 0, text: null });
    if (phase === "finished") journal.finished(TASK, wallFrom(3));
    const before = journal.find(TASK);
    expect(before?.phase).toBe(phase);
    expect(journal.claimed({ ...task, payload: { command: "other" } }, at(4))).toBe(false);
    expect(journal.find(TASK)).toEqual(before as NonNullable<typeof before>);
  },
);

test("a task that was never let through the gate may come again, as it comes", () => {
  using store = openStore();
  const { journal } = store;
  expect(journal.claimed(task, at(1))).toBe(true);
  expect(journal.claimed(task, at(2))).toBe(true);
  journal.dropped(TASK, "409 already cancelled", wallFrom(3));
  expect(journal.find(TASK)).toMatchObject({
    phase: "dropped",
    outcome: { status: "dropped" },
    finishedAt: wallFrom(3),
  });
  expect(journal.claimed({ ...task, payload: { command: "true" } }, at(4))).toBe(true);
  expect(journal.find(TASK)).toMatchObject({
    phase: "claimed",
    claimed: 4,
    command: "true",
    outcome: undefined,
    finishedAt: undefined,
  });
  expect(journal.payload(TASK)).toEqual({ command: "true" });
});

test("what is unfinished is listed oldest first; what is recent, newest first", () => {
  using store = openStore();
  const { journal } = store;
  for (const [k, id] of ["a", "b", "c", "d", "e"].entries()) journal.claimed({ ...task, id }, at(k));
  journal.started("b", at(9));
  journal.launched("c", launch);
  journal.finished("d", wallFrom(9));
  journal.dropped("e", "no", wallFrom(9));
  expect(journal.unfinished().map(({ id }) => id)).toEqual(["a", "b", "c"]);
  expect(journal.recent(2).map(({ id }) => id)).toEqual(["e", "d"]);
});

test("a beginning that several ids share is seen to be ambiguous, and is taken literally", () => {
  using store = openStore();
  const { journal } = store;
  for (const id of ["abc-1", "abc-2", "abc-3", "x_1"]) journal.claimed({ ...task, id }, at(1));
  expect(journal.startingWith("abc")).toHaveLength(2);
  expect(journal.startingWith("abc-3").map(({ id }) => id)).toEqual(["abc-3"]);
  expect(journal.startingWith("%")).toEqual([]);
  expect(journal.startingWith("x_")).toHaveLength(1);
});

test("only finished tasks are forgotten, those claimed first, whatever the clock was set to", () => {
  using store = openStore();
  const { journal } = store;
  for (const [k, id] of ["a", "b", "c"].entries()) {
    journal.claimed({ ...task, id }, at(k));
    journal.finished(id, wallFrom(10 - k));
  }
  journal.claimed({ ...task, id: "running" }, at(0));
  journal.started("running", at(0));
  journal.forgetAllBut(1);
  expect(
    journal
      .recent(9)
      .map(({ id }) => id)
      .sort(),
  ).toEqual(["c", "running"]);
});

test("journal and outbox change together or not at all", () => {
  using store = openStore();
  const { journal, outbox } = store;
  journal.claimed(task, at(1));
  expect(() =>
    journal.atomically(() => {
      outbox.push(TASK, "completed", { taskId: TASK });
      journal.reported(TASK, { status: "success", exitCode: 0, text: null });
      throw new Error("power cut");
    }),
  ).toThrow("power cut");
  expect(outbox.isEmpty(TASK)).toBe(true);
  expect(journal.find(TASK)?.phase).toBe("claimed");
});

test("an unanswered claim is remembered over a restart until it is over", () => {
  using directory = scratchDirectory();
  const path = join(directory.path, "agent.db");
  const claims = <T>(use: (claim: ReturnType<typeof createOpenClaim>) => T): T => {
    using store = openStore(path);
    return use(createOpenClaim(store.database));
  };
  expect(claims((claim) => claim.read())).toBeUndefined();
  claims((claim) => claim.write(1234.5));
  expect(claims((claim) => claim.read())).toBe(1_234.5);
  claims((claim) => claim.write(undefined));
  expect(claims((claim) => claim.read())).toBeUndefined();
});

test("of a finished task's payload only the first line of its command is kept", () => {
  using store = openStore();
  const { journal, database } = store;
  const payload = { command: "deploy\nsecond line", environment: { PASSWORD: "s3cret" } };
  for (const id of ["t1", "t2"]) journal.claimed({ id, type: "shell.exec", payload }, at(1));
  journal.started("t1", at(2));
  expect(journal.payload("t1")).toEqual(payload);
  journal.reported("t1", { status: "success", exitCode: 0, text: null });
  journal.finished("t1", wallFrom(3));
  journal.dropped("t2", "no", wallFrom(3));
  expect(journal.recent(2).map(({ command }) => command)).toEqual(["deploy", "deploy"]);
  expect(() => journal.payload("t1")).toThrow("task t1 in the journal");
  expect(database.query("SELECT * FROM payloads").all()).toEqual([]);
});

test("a step of a task with a large payload writes no more than one with a small payload", () => {
  using directory = scratchDirectory();
  const path = join(directory.path, "agent.db");
  using store = openStore(path);
  const { journal, database } = store;
  const payload = { command: "true", environment: { LOAD: "ü".repeat(500_000) } };
  journal.claimed({ ...task, payload }, at(1));
  expect(journal.payloadSize(TASK)).toBe(Buffer.byteLength(JSON.stringify(payload)));
  database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  journal.started(TASK, at(2));
  journal.launched(TASK, launch);
  expect(statSync(`${path}-wal`).size).toBeLessThan(100_000);
  expect(journal.payload(TASK)).toEqual(payload);
});

test("tasks of a database whose rows held the payload go on with it, and finished ones keep their line", () => {
  using directory = scratchDirectory();
  const path = join(directory.path, "agent.db");
  const text = JSON.stringify({ command: "deploy\nsecond line", environment: { A: "1" } });
  {
    using earlier = openDatabase(path, [
      journalMigration,
      outboxMigration,
      momentsMigration,
      announcedMigration,
    ]);
    const insert = (id: string, phase: string, payload: string): void =>
      void earlier.run(
        "INSERT INTO tasks (id, type, payload, phase, claimed_at, shipped) VALUES (?, 'shell.exec', ?, ?, 0, ?)",
        [id, payload, phase, JSON.stringify(nothingShipped)],
      );
    insert("a", "launched", text);
    insert("b", "finished", JSON.stringify({ command: "done" }));
    insert("c", "finished", "{}");
  }
  using store = openStore(path);
  expect(store.journal.recent(3).map(({ id, command }) => [id, command])).toEqual([
    ["c", undefined],
    ["b", "done"],
    ["a", "deploy"],
  ]);
  expect(store.journal.payload("a")).toEqual(JSON.parse(text));
  expect(store.journal.payloadSize("b")).toBe(0);
});

test("what is counted from a claim is not moved by a step of the wall clock", () => {
  using store = openStore();
  store.journal.claimed(task, { ...momentNow(), wall: 0 });
  expect(steadyNow() - (store.journal.find(TASK)?.claimed ?? 0)).toBeWithin(0, 5_000);
});

test("a claim of an earlier boot is as old as the wall clock says", () => {
  using store = openStore();
  const wall = epochOf(wallNow()) - minutes(10);
  store.journal.claimed(task, { boot: "an earlier one", steady: 5, wall });
  const age = steadyNow() - (store.journal.find(TASK)?.claimed ?? 0);
  expect(age).toBeWithin(minutes(10) - 20, minutes(10) + 5_000);
});

test("a launch that an earlier version wrote, in times since the epoch, keeps its limit", () => {
  using store = openStore();
  const at = Date.now() - minutes(2);
  const { wall: _, ...earlier } = { ...launch, at, deadline: at + minutes(10) };
  store.journal.claimed(task, momentNow());
  store.database.run("UPDATE tasks SET launch = ?", [JSON.stringify(earlier)]);
  const record = store.journal.find(TASK);
  expect(record?.launch?.wall).toBe(at);
  expect((record?.launch?.deadline ?? 0) - steadyNow()).toBeWithin(minutes(8) - 5_000, minutes(8) + 20);
});
