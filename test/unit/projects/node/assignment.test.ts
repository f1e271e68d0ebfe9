// The assignment: what of the server's answer counts, and that the last answer outlives server and agent.
import type { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../../../../src/lib/agent-error.ts";
import { milliseconds, minutes, seconds } from "../../../../src/lib/duration.ts";
import { LoopRegistry } from "../../../../src/lib/loop.ts";
import { openDatabase } from "../../../../src/platform/database.ts";
import { silent } from "../../../../src/platform/log.ts";
import {
  type Assignment,
  type AssignmentStore,
  assignmentLoop,
  assignmentMigration,
  createAssignmentStore,
  pollPause,
  readAssignment,
} from "../../../../src/projects/node/assignment.ts";
import { createAssignmentCopy } from "../../../../src/projects/node/assignment-copy.ts";
import { onList } from "../../../../src/projects/reconcile/change.ts";
import { temporaryDirectory } from "../../../support/binary.ts";
import { timePasses, runByQuickClock } from "../../../support/fake-time.ts";
import { emptyStore, spec, until } from "../harness.ts";

runByQuickClock();

const item = (name: string, phase = "Running", nodeRef = "here", what: unknown = spec()) => ({
  metadata: { name },
  spec: what,
  status: { phase, nodeRef },
});

test("each project is read by itself: one that cannot be hides no other, and says what is wrong", () => {
  const { projects, nameless } = readAssignment(
    [item("a", "Running", "here", { services: [] }), item("b"), null, { metadata: {} }],
    "here",
  );
  expect(projects.map(({ name, spec }) => [name, "problem" in spec ? spec.problem : "read"])).toEqual([
    ["a", "its specification cannot be read: spec.services: has no services"],
    ["b", "read"],
  ]);
  expect(nameless).toBe(2);
});

test("another node's project, and one in a phase without work, is not ours whatever the server lists", () => {
  const items = [
    item("a", "Running", "there"),
    item("b", "Pending"),
    item("c", "Paused"),
    item("d", "Running", ""),
  ];
  expect(readAssignment(items, "here").projects).toEqual([]);
});

test("one that has Failed is still ours to work on", () => {
  const [found] = readAssignment([item("shop", "Failed")], "here").projects;
  expect(found).toMatchObject({
    name: "shop",
    phase: "Failed",
    spec: { project: { metadata: { name: "shop" } } },
  });
});

const anything = { allowProjects: true, registries: undefined, container: {}, project: {} };

test("one whose removal another agent has given up is neither brought up again nor removed", () => {
  const conditions = [{ type: "Ready", status: "False", reason: "RemoveError", message: "busy" }];
  const half = { ...item("shop"), status: { phase: "Failed", nodeRef: "here", conditions } };
  const [found] = readAssignment([half], "here").projects;
  expect(found?.spec).toEqual({
    problem: "its removal was not finished; delete it once more",
    reason: "RemoveError",
  });
  expect(onList(found!, 1, undefined, anything).goal).toBeUndefined();
});

test("conditions that cannot be read hide no project", () => {
  const odd = { ...item("shop"), status: { phase: "Running", nodeRef: "here", conditions: "none" } };
  expect(readAssignment([odd], "here").projects).toMatchObject([{ name: "shop", conditions: [] }]);
});

test("a text that is not a project name is not passed to Docker", () => {
  const [found] = readAssignment([item("../../etc")], "here").projects;
  expect(found?.spec).toMatchObject({ problem: '"../../etc" is not a name for a project' });
});

test("the last answer is kept for this server and this node alone, in the database and in its copy", () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "assignment.json");
  const storeIn = (database: Database, server: string, node: string): AssignmentStore =>
    createAssignmentStore(database, server, node, createAssignmentCopy(path, server, node, silent));
  using database = openDatabase(":memory:", [assignmentMigration]);
  storeIn(database, "http://a", "here").write([item("shop")]);
  using empty = openDatabase(":memory:", [assignmentMigration]);
  for (const each of [database, empty]) {
    expect(storeIn(each, "http://a", "here").read()).toEqual([item("shop")]);
    expect(storeIn(each, "http://b", "here").read()).toBeUndefined();
    expect(storeIn(each, "http://a", "there").read()).toBeUndefined();
  }
  expect(statSync(path).mode & 0o777).toBe(0o600);

  // Made where an earlier version kept none, and not obeyed where it is torn.
  writeFileSync(path, readFileSync(path, "utf8").slice(0, -9));
  expect(storeIn(empty, "http://a", "here").read()).toBeUndefined();
  storeIn(database, "http://a", "here").read();
  expect(storeIn(empty, "http://a", "here").read()).toEqual([item("shop")]);
});

function polling(
  projects: () => Promise<unknown[]>,
  store: AssignmentStore,
  fallbackAfter = seconds(3),
  every = milliseconds(20),
) {
  const end = new AbortController();
  const seen: Assignment[] = [];
  const done = assignmentLoop(
    {
      api: { projects },
      store,
      node: "here",
      isLost: () => false,
      onAssignment: (one) => void seen.push(one),
      registry: new LoopRegistry(),
      log: silent,
      fallbackAfter,
    },
    every,
    end.signal,
  );
  return { seen, [Symbol.asyncDispose]: () => (end.abort(), done) };
}

const keeping = (...items: unknown[]): AssignmentStore => {
  const store = emptyStore();
  store.write(items);
  return store;
};

test("a server that is there is heard before what was kept", async () => {
  await using it = polling(() => Promise.resolve([]), keeping(item("old")), milliseconds(500));
  await until("it was asked twice", () => it.seen.length > 1);
  expect(it.seen.every(({ projects, askedAt }) => projects.length === 0 && askedAt !== undefined)).toBe(true);
});

test("a server that refuses makes what was kept count at once", async () => {
  const refused = () => Promise.reject(new AgentError("net.refused", "connection refused"));
  await using it = polling(refused, keeping(item("old")));
  await until("what was kept is taken", () => it.seen.length === 1, seconds(1));
  expect(it.seen[0]).toMatchObject({ askedAt: undefined, projects: [{ name: "old" }] });
});

test("a server that hangs makes what was kept count after a while, once", async () => {
  const hangs = () => timePasses(minutes(1)).then(() => Promise.reject(new Error("late")));
  await using it = polling(hangs, keeping(item("old")), milliseconds(50));
  await until("what was kept is taken", () => it.seen.length === 1, seconds(1));
  expect(it.seen[0]?.askedAt).toBeUndefined();
});

test("while projects change the server is asked twice a second, on a quiet node at the configured interval", () => {
  const quick = [milliseconds(20), milliseconds(20), milliseconds(20)];
  expect(pollPause(seconds(3), seconds(10), quick)).toBe(milliseconds(500));
  expect(pollPause(seconds(3), minutes(2), quick)).toBe(seconds(3));
  expect(pollPause(milliseconds(100), seconds(10), [])).toBe(milliseconds(100));
});

test("a server that takes long to answer again and again is asked rarer, also while projects change", () => {
  const slow = [seconds(2), seconds(3), seconds(2)];
  expect(pollPause(seconds(3), seconds(10), slow)).toBe(seconds(8));
  expect(pollPause(seconds(3), seconds(10), [seconds(7), seconds(7), seconds(7)])).toBe(seconds(15));
});

test("one slow answer does not hold up the next question", async () => {
  expect(pollPause(seconds(3), seconds(10), [seconds(7)])).toBe(milliseconds(500));
  expect(pollPause(seconds(3), minutes(2), [milliseconds(20), milliseconds(20), seconds(7)])).toBe(
    seconds(3),
  );
  let calls = 0;
  await using it = polling(async () => {
    if (++calls === 2) await timePasses(milliseconds(700)); // the slow answer
    return [];
  }, emptyStore());
  await until("it was asked four times", () => calls > 3, seconds(2));
  expect(it.seen.length).toBeGreaterThan(2);
});

test("a project that is given to a node soon after its start does not wait for the interval", async () => {
  const items: unknown[] = [];
  await using it = polling(() => Promise.resolve([...items]), emptyStore(), seconds(3), minutes(10));
  await until("it was asked", () => it.seen.length === 1);
  items.push(item("shop"));
  await until("it is known", () => it.seen.at(-1)?.projects.length === 1);
});

test("a server that fails later changes nothing: the last answer stands", async () => {
  let calls = 0;
  const once = () =>
    ++calls === 1
      ? Promise.resolve([item("shop")])
      : Promise.reject(new AgentError("http.status", "no", { status: 500 }));
  await using it = polling(once, keeping(item("old")));
  await until("it failed", () => calls > 1, seconds(3));
  expect(it.seen.map(({ projects }) => projects.map(({ name }) => name))).toEqual([["shop"]]);
});
