// From the spool to the outbox: rows and their place in the journal change together, one waiting at a time.
import { expect, test } from "bun:test";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { createServerClock } from "../../../src/control/server-clock.ts";
import type { LogRequest } from "../../../src/protocol/noderax/tasks.ts";
import { createShipper } from "../../../src/tasks/output/shipping.ts";
import { openSpool } from "../../../src/tasks/run/spool.ts";
import { TASK, openStore, scratchDirectory, startedTask } from "./scratch.ts";

function shipping() {
  const directory = scratchDirectory();
  const store = openStore();
  const { journal, outbox, database } = store;
  const task = startedTask(journal);
  const spool = openSpool(directory.path);
  const open = (record = task) => {
    const shipper = createShipper(record, { journal, outbox, serverClock: createServerClock() });
    shipper.follow(spool, 0);
    return shipper;
  };
  return {
    store,
    open,
    write(stream: "stdout" | "stderr", text: string, now: number) {
      appendFileSync(join(directory.path, `${stream}.log`), text);
      spool.observe(true, now);
    },
    waiting: () =>
      database
        .query<{ body: string }, []>("SELECT body FROM outbox ORDER BY id")
        .all()
        .map(({ body }) => (JSON.parse(body) as LogRequest).line),
    deliver: () => void database.run("DELETE FROM outbox"),
    [Symbol.dispose]() {
      spool.close();
      store[Symbol.dispose]();
      directory[Symbol.dispose]();
    },
  };
}

test("while a row is under way no other one is made", () => {
  using it = shipping();
  const shipper = it.open();
  it.write("stdout", "one\n", 0);
  shipper.ship(true, 0);
  it.write("stdout", "two\n", 0);
  expect(shipper.ship(true, 0)).toBe(false);
  expect(it.waiting()).toEqual(["one"]);
  it.deliver();
  shipper.ship(true, 0);
  expect(it.waiting()).toEqual(["two"]);
});

test("an agent that died between rows goes on with the next byte", () => {
  using it = shipping();
  it.write("stdout", "one\n", 0);
  it.open().ship(true, 0);
  it.deliver();
  it.write("stdout", "two\n", 0);
  it.open(it.store.journal.find(TASK)).ship(true, 0);
  expect(it.waiting()).toEqual(["two"]);
});

test("a row that could not be stored is not counted as shipped", () => {
  using it = shipping();
  const shipper = it.open();
  it.write("stdout", "one\n", 0);
  it.store.database.run(
    "CREATE TRIGGER full BEFORE UPDATE ON tasks BEGIN SELECT RAISE(ABORT, 'disk is full'); END",
  );
  expect(() => shipper.ship(true, 0)).toThrow("disk is full");
  expect(it.waiting()).toEqual([]);
  it.store.database.run("DROP TRIGGER full");
  shipper.ship(true, 0);
  expect(it.waiting()).toEqual(["one"]);
});

test("rows come in the order in which the two streams were seen to grow", () => {
  using it = shipping();
  const shipper = it.open();
  const seen: string[] = [];
  for (const [stream, text] of [
    ["stdout", "1"],
    ["stderr", "2"],
    ["stdout", "3"],
    ["stdout", "4"],
    ["stderr", "5"],
  ] as const)
    it.write(stream, `${text}\n`, 0);
  while (!shipper.ship(true, 0)) {
    seen.push(...it.waiting());
    it.deliver();
  }
  expect(seen).toEqual(["1", "2", "3", "4", "5"]);
});

test("a stream that grows on after everything was sent keeps its place before what came later", () => {
  using it = shipping();
  const shipper = it.open();
  it.write("stdout", "first\n", 0);
  shipper.ship(true, 0);
  it.deliver();
  shipper.ship(true, 0); // Looks once more, and finds nothing.
  it.write("stdout", "second\n", 0);
  it.write("stderr", "third\n", 0);
  shipper.ship(true, 0);
  expect(it.waiting()).toEqual(["second"]);
});

test("a note of the agent takes none of the output's place", () => {
  using it = shipping();
  const shipper = it.open();
  shipper.note("waiting for a free slot", 0);
  it.deliver();
  it.write("stdout", "one\n", 0);
  shipper.ship(true, 0);
  expect(it.waiting()).toEqual(["one"]);
  expect(it.store.journal.find(TASK)?.shipped).toMatchObject({ rows: 2, offset: { stdout: 4, stderr: 0 } });
});
