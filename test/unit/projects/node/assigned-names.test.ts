// Whose a project is that the server does not know: removed only where it was assigned once, and only while that holds.
import { expect, test } from "bun:test";
import { seconds } from "../../../../src/lib/duration.ts";
import { openDatabase } from "../../../../src/platform/database.ts";
import { createAssignedNames } from "../../../../src/projects/node/assigned-names.ts";
import { timePasses, runByQuickClock } from "../../../support/fake-time.ts";
import { WorldEngine } from "../../../support/world-engine.ts";
import { MIGRATIONS, type ProjectsState, Server, runProjects, stateWith, until } from "../harness.ts";

runByQuickClock();

const open = (): ReturnType<typeof openDatabase> => openDatabase(":memory:", MIGRATIONS);

test("names outlive the agent, by server", () => {
  const database = open();
  createAssignedNames(database, "one").add(["shop", "blog"], "m");
  createAssignedNames(database, "one").forget("blog");
  expect(createAssignedNames(database, "one").all()).toEqual(["shop"]);
  expect(createAssignedNames(database, "two").all()).toEqual([]);
});

test("of too many the oldest make way, also on disk", () => {
  const database = open();
  const names = createAssignedNames(database, "one", 3);
  names.add(["a", "b", "c"], "m");
  names.add(["c", "d", "e"], "m");
  expect(names.all()).toEqual(["c", "d", "e"]);
  expect(createAssignedNames(database, "one").all()).toEqual(["c", "d", "e"]);
});

/** The records of a node that has made a project under another server; it runs. */
async function madeElsewhere(engine: WorldEngine): Promise<ProjectsState["records"]> {
  const other = new Server();
  other.put("shop");
  const state = stateWith();
  await using _run = runProjects(engine, other, { state });
  await until("it runs", () => other.phase("shop") === "Running");
  return state.records;
}

test("a project that this server never assigned is left alone, also when this node made it", async () => {
  const engine = new WorldEngine();
  const records = await madeElsewhere(engine);
  const server = new Server();
  await using run = runProjects(engine, server, { state: { ...stateWith(), records } });
  await until("it was asked after", () =>
    run.reconcile.orphans().some(({ decision }) => decision === "kept"),
  );
  await server.polled(15); // Five times the grace.
  expect(engine.running("shop")).toEqual(["shop-web"]);
});

test("one that it assigned to an earlier run is removed", async () => {
  const engine = new WorldEngine();
  const records = await madeElsewhere(engine);
  await using _run = runProjects(engine, new Server(), { state: { ...stateWith("shop"), records } });
  await until("it is gone", () => engine.isDown("shop"));
});

test("once nothing is left of a project its name is forgotten, and not while it is listed or its data is left", async () => {
  const [engine, server, state] = [new WorldEngine(), new Server(), stateWith()];
  server.put("shop");
  await using _run = runProjects(engine, server, { state, grace: seconds(5) });
  await until("it runs", () => server.phase("shop") === "Running");
  expect(state.assigned.has("shop")).toBe(true);
  server.projects_.delete("shop");
  await timePasses(seconds(4));
  expect(engine.isDown("shop")).toBe(false);
  await until("it is gone", () => engine.isDown("shop"));
  expect(state.assigned.has("shop")).toBe(true);
  engine.world("shop").volumes.clear();
  engine.tell({ project: "shop", action: "volume destroy" });
  await until("it is forgotten", () => !state.assigned.has("shop"));
});
