// The reconcile loop with projects that the server has not assigned: what is removed, when, and what is never touched.
import { expect, setDefaultTimeout, test } from "bun:test";
import { steadyNow } from "../../../../src/lib/clock.ts";
import { hours, milliseconds, minutes, seconds } from "../../../../src/lib/duration.ts";
import { timePasses, runByQuickClock } from "../../../support/fake-time.ts";
import { WorldEngine } from "../../../support/world-engine.ts";
import { Server, runProjects, spec, stateWith, until } from "../harness.ts";

setDefaultTimeout(150_000);
runByQuickClock();

test("what the server has deleted is removed after the grace, and says so", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using run = runProjects(engine, server, { grace: milliseconds(200) });
  await until("it runs", () => server.phase("shop") === "Running");
  server.projects_.delete("shop");
  await until("it is an orphan", () => run.reconcile.orphans().some(({ decision }) => decision === "orphan"));
  expect(run.reconcile.orphans()).toMatchObject([
    { name: "shop", reason: "deleted on the server", containers: 1 },
  ]);
  expect(engine.running("shop")).toEqual(["shop-web"]);
  await until("it is gone", () => engine.isDown("shop"));
  await until("only its data is left", () => run.reconcile.orphans()[0]?.containers === 0);
  expect(server.reported("shop")).toEqual(["Running"]);
  expect(run.lines.join()).toContain("warn orphans shop: deleted on the server");
});

test("what is deleted while the server is away stays until the server has said so", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  server.away = true;
  server.projects_.delete("shop");
  await timePasses(seconds(20));
  expect(engine.running("shop")).toEqual(["shop-web"]);
  server.away = false;
  await until("it is gone", () => engine.isDown("shop"), minutes(1));
});

test("one that the server has forced to terminated is taken down here too", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  server.put("shop", "Terminated");
  await until("it is gone", () => engine.isEmpty("shop"));
});

test("a project that comes back within the grace keeps its containers", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using run = runProjects(engine, server, { grace: seconds(60) });
  await until("it runs", () => server.phase("shop") === "Running");
  server.put("shop", "Running", spec(), "elsewhere");
  await until("it is an orphan", () => run.reconcile.orphans().some(({ decision }) => decision === "orphan"));
  const done = engine.done.length;
  server.put("shop", "Scheduled");
  await until("it runs for the server", () => server.phase("shop") === "Running");
  expect(engine.done.length).toBe(done);
  expect(run.reconcile.orphans()).toEqual([]);
});

test("a project that the server has given to no node keeps its containers", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  server.put("shop", "Pending", spec(), "");
  const kept = (): boolean => run.reconcile.orphans()[0]?.reason === "waits on the server for a node";
  await until("it was asked after", kept);
  const asked = server.questions;
  await until("it was asked after ten times more", () => server.questions > asked + 10);
  expect(engine.running("shop")).toEqual(["shop-web"]);
});

test("the data of an orphan stays when its containers go, and is named; the end of a project takes it along", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  for (const name of ["moved", "ended"]) server.put(name);
  await using run = runProjects(engine, server);
  await until("both run", () => server.phase("moved") === "Running" && server.phase("ended") === "Running");
  server.put("moved", "Running", spec(), "elsewhere");
  server.put("ended", "Terminating");
  await until("both are gone", () => engine.isDown("moved") && engine.isEmpty("ended"));
  await until(
    "the data is named",
    () => run.reconcile.orphans()[0]?.reason === "nothing is left that the agent removes",
  );
  expect(run.reconcile.orphans()).toMatchObject([
    { name: "moved", decision: "kept", containers: 0, volumes: ["cara-moved-data"] },
  ]);
  const done = engine.done.length;
  await server.polled(10); // Three times the grace.
  expect(engine.done.length).toBe(done);
  expect([...engine.world("moved").volumes]).toEqual(["cara-moved-data"]);
});

test("what is made of an unlisted project after the last snapshot is found without a resync", async () => {
  const [engine, server, state] = [new WorldEngine(), new Server(), stateWith()];
  await using run = runProjects(engine, server, { resync: hours(1), state });
  const isIdle = (name: string): boolean =>
    run.registry.all().some((one) => one.name === name && one.lastSuccess !== undefined);
  await until(
    "it has heard of the server",
    () => isIdle("assignment") && isIdle("docker") && isIdle("orphans"),
  );
  server.put("moved", "Running", spec(), "elsewhere");
  const id = byStranger(engine, "moved");
  state.records.made({ kind: "container", name: "moved-web", fingerprint: "" }, id);
  await until("it is gone", () => engine.isEmpty("moved"));
});

test("what another node's agent has made on this Docker is kept, whatever the server says of it", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("moved", "Running", spec(), "elsewhere");
  byStranger(engine, "moved", "elsewhere");
  byStranger(engine, "deleted", "elsewhere");
  await using run = runProjects(engine, server, { state: stateWith("moved", "deleted") });
  const reasons = (): string[] =>
    run.reconcile.orphans().map(({ decision, reason }) => `${decision}: ${reason}`);
  await until("both are seen", () => reasons().length === 2);
  expect(reasons()).toEqual(Array(2).fill("kept: belongs to node elsewhere"));
  await server.polled(15); // Five times the grace.
  expect([engine.running("moved"), engine.running("deleted")]).toEqual([["moved-web"], ["deleted-web"]]);
  expect(engine.done).toEqual([]);
});

test("the network of an orphan stays while containers of others stand on it, and nothing of theirs is touched", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  byStranger(engine, "shop", "elsewhere", "db");
  server.put("shop", "Running", spec(), "elsewhere");
  await until("ours is gone", () => engine.running("shop").join() === "shop-db");
  await until("nothing more is removed", () =>
    run.reconcile.orphans().some(({ reason }) => reason === "nothing is left that the agent removes"),
  );
  const world = engine.world("shop");
  expect([world.network !== undefined, world.volumes.size]).toEqual([true, 1]);
});

test("what another node's agent has made is taken over when the server gives it to us, and goes with everything", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await (async () => {
    await using _run = runProjects(engine, server);
    await until("it runs", () => server.phase("shop") === "Running");
  })();
  const world = engine.world("shop");
  for (const key of [...world.containers.keys(), ...world.volumes, world.network ?? ""])
    world.makers.set(key, "elsewhere");
  const done = engine.done.length;
  server.put("shop", "Scheduled");
  await using _run = runProjects(engine, server);
  await until("it runs for the server", () => server.phase("shop") === "Running");
  expect(engine.done.length).toBe(done);
  server.put("shop", "Terminating");
  await until("it is terminated", () => server.phase("shop") === "Terminated");
  expect(engine.isEmpty("shop")).toBe(true);
});

/** A running container of this project that none of ours has made; Docker tells of it. Returns its id. */
function byStranger(engine: WorldEngine, project: string, node?: string, service = "web"): string {
  const { id } = engine.world(project).add({
    name: `${project}-${service}`,
    service,
    state: "running",
    image: "web:1",
    fingerprint: undefined,
    networks: new Set(),
    since: steadyNow(),
    exitCode: 0,
  });
  if (node !== undefined) engine.world(project).makers.set(id, node);
  engine.tell({ project, action: "container start" });
  return `${project}/${id}`;
}
