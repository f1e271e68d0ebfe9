// A server that has lost its data: what it does not know any more is not deleted, and nothing of it is removed.
import { expect, setDefaultTimeout, test } from "bun:test";
import * as fc from "fast-check";
import { seconds } from "../../../../src/lib/duration.ts";
import { openDatabase } from "../../../../src/platform/database.ts";
import { isDataLoss } from "../../../../src/projects/plan/orphans.ts";
import { runByQuickClock } from "../../../support/fake-time.ts";
import { WorldEngine } from "../../../support/world-engine.ts";
import { MIGRATIONS, REGISTERED, Server, emptyStore, runProjects, spec, stateIn, until } from "../harness.ts";

setDefaultTimeout(seconds(30));
runByQuickClock();

const LATER = "2026-02-02T00:00:00Z";

/** So many projects run, of a state directory that outlives the agent. */
async function running(names: readonly string[]) {
  const [engine, server] = [new WorldEngine(), new Server()];
  const database = openDatabase(":memory:", MIGRATIONS);
  const store = emptyStore();
  const start = (): ReturnType<typeof runProjects> => {
    const state = stateIn(database);
    if (server.registered !== undefined) state.continuity.registeredAt(server.registered);
    return runProjects(engine, server, { state, store });
  };
  for (const name of names) server.put(name);
  const run = start();
  const { continuity, assigned } = stateIn(database);
  await until("all run", () => names.every((name) => server.phase(name) === "Running"));
  await until("they are known to be assigned under the server's memory", () =>
    names.every((name) => stateIn(database).assigned.memory(name) === continuity.memory()),
  );
  expect(assigned).toBeDefined();
  return { engine, server, run, start, database };
}

/** Until each was asked after so often that a removal would be over. */
async function askedOften(server: Server): Promise<void> {
  const before = server.questions;
  await until("it was asked after ten times more", () => server.questions > before + 10);
}

test("a server that comes back empty costs no project its containers, before and after this node registers again", async () => {
  const { engine, server, run } = await running(["shop"]);
  await using _run = run;
  server.losesAll();
  await until("it is kept", () => run.reconcile.orphans()[0]?.decision === "kept");
  server.registered = LATER;
  await askedOften(server);
  expect(run.reconcile.orphans()).toMatchObject([
    {
      name: "shop",
      decision: "kept",
      reason: expect.stringMatching(/^unknown to the server, which has lost its data/),
    },
  ]);
  expect(engine.running("shop")).toEqual(["shop-web"]);
});

test("a server that came back empty while the agent was down, and was registered with by another one, is seen through", async () => {
  const { engine, server, run, start } = await running(["shop"]);
  await run.crash();
  server.losesAll(LATER);
  await using again = start();
  await until("it is kept", () => again.reconcile.orphans()[0]?.decision === "kept");
  await askedOften(server);
  expect(engine.running("shop")).toEqual(["shop-web"]);
});

test("what an emptied server has forgotten is supervised and routed as before, and is not reported", async () => {
  const { engine, server, run } = await running(["shop"]);
  await using _run = run;
  server.losesAll(LATER);
  await until("it is kept", () => run.reconcile.orphans()[0]?.decision === "kept");
  const reports = server.reports.length;
  engine.crash("shop", "web");
  await until("it runs again", () => engine.running("shop").length === 1);
  expect(run.reconcile.desired().map(({ name }) => name)).toEqual(["shop"]);
  expect(run.reconcile.states()).toMatchObject([{ name: "shop", phase: "none" }]);
  expect(server.reports.length).toBe(reports);
});

test("it is supervised by the next run of the agent too, once the server has answered", async () => {
  const { engine, server, run, start } = await running(["shop"]);
  await run.crash();
  server.losesAll(LATER);
  engine.crash("shop", "web");
  await using again = start();
  await until("it runs again", () => engine.running("shop").length === 1);
  expect(again.reconcile.orphans()).toMatchObject([{ name: "shop", decision: "kept" }]);
});

test("what was moved to another node while the agent was down is not started once more", async () => {
  const { engine, server, run, start } = await running(["shop"]);
  await run.crash();
  server.put("shop", "Running", spec(), "elsewhere");
  engine.crash("shop", "web");
  const done = engine.done.length;
  await using _again = start();
  await until("it is gone", () => engine.isDown("shop"));
  expect(engine.done.slice(done).filter((text) => text.includes("startContainer"))).toEqual([]);
});

test("a removal that the server has ordered is finished when its list does not show the project any more", async () => {
  const { engine, server, run } = await running(["shop"]);
  await using _run = run;
  engine.onStep = (text, when) => {
    if (when === "before" && text === "shop stopContainer web") server.losesAll(LATER);
  };
  server.put("shop", "Terminating");
  await until("all of it is gone, its data too", () => engine.isEmpty("shop"));
  await until("it is forgotten", () => run.reconcile.states().length === 0);
});

test("what an emptied server is given again and then deletes is removed", async () => {
  const { engine, server, run } = await running(["shop"]);
  await using _run = run;
  server.losesAll(LATER);
  await until("it is kept", () => run.reconcile.orphans()[0]?.decision === "kept");
  server.put("shop");
  await until("it runs again for the server", () => server.phase("shop") === "Running");
  await server.polled(5); // A list from the new memory has shown it.
  server.projects_.delete("shop");
  await until("it is gone", () => engine.isDown("shop"));
});

test("most projects missing at once are kept, also when the server still knows this node", async () => {
  const names = ["a", "b", "c", "d", "e"];
  const { engine, server, run } = await running(names);
  await using _run = run;
  for (const name of ["a", "b", "c"]) server.projects_.delete(name);
  await until(
    "they are kept",
    () => run.reconcile.orphans().filter((o) => o.decision === "kept").length === 3,
  );
  await askedOften(server);
  expect(names.map((name) => engine.running(name).length)).toEqual([1, 1, 1, 1, 1]);
});

test("one project of several that the server deletes is removed, and the others live on", async () => {
  const { engine, server, run } = await running(["a", "b", "c", "d"]);
  await using _run = run;
  server.projects_.delete("a");
  await until("it is gone", () => engine.isDown("a"));
  expect(["b", "c", "d"].map((name) => engine.running(name).length)).toEqual([1, 1, 1]);
});

test("half of what is held is no loss, and two projects are none", () => {
  expect([isDataLoss(2, 2), isDataLoss(3, 6), isDataLoss(3, 5), isDataLoss(50, 60)]).toEqual([
    false,
    false,
    true,
    true,
  ]);
});

/** What may happen between a server and a node, from the node's side. */
const happening = fc.constantFrom("lists it", "forgets the node", "registers it again", "the agent restarts");

test("a 404 proves a deletion only when nothing was forgotten since the last list that showed the project", () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 12 }), (course) => {
      const database = openDatabase(":memory:", MIGRATIONS);
      let state = stateIn(database);
      let registered = REGISTERED;
      state.continuity.registeredAt(registered);
      let proven = false;
      for (const [n, what] of course.entries()) {
        if (what === "the agent restarts") state = stateIn(database);
        if (what === "forgets the node") state.continuity.forgot("test");
        if (what === "registers it again") state.continuity.registeredAt((registered = `${LATER} ${n}`));
        if (what === "lists it") {
          state.continuity.registeredAt(registered);
          state.assigned.add(["shop"], state.continuity.memory());
        }
        if (what === "lists it") proven = true;
        else if (what !== "the agent restarts") proven = false;
      }
      state.continuity.registeredAt(registered);
      const memory = state.continuity.memory();
      expect(memory).toBeDefined();
      expect(state.assigned.memory("shop") === memory).toBe(proven);
    }),
    { numRuns: 500 },
  );
});
