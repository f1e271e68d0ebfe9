// The reconcile loop: what the server wants comes about on Docker, whatever goes away meanwhile.
import { expect, setDefaultTimeout, setSystemTime, test } from "bun:test";
import { steadyNow } from "../../../../src/lib/clock.ts";
import { hours, milliseconds, minutes, seconds } from "../../../../src/lib/duration.ts";
import { AgentError } from "../../../../src/lib/agent-error.ts";
import { fullReference } from "../../../../src/projects/plan/images.ts";
import { elapse, runByQuickClock } from "../../../support/fake-time.ts";
import { WorldEngine } from "../../../support/world-engine.ts";
import { Server, emptyStore, runProjects, service, spec, stateWith, until } from "../harness.ts";

setDefaultTimeout(seconds(60));
runByQuickClock();

test("a scheduled project comes up and is told of as running, once", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop", "Scheduled", spec(service("web"), service("db", "db:1")));
  await using _run = runProjects(engine, server);
  await until("it runs on the server", () => server.phase("shop") === "Running");
  expect(engine.running("shop")).toEqual(["shop-db", "shop-web"]);
  await server.polled(5);
  expect(server.told("shop")).toEqual(["Running"]);
  expect(engine.clashes).toEqual([]);
});

test("a terminating project goes with everything, and is told of as terminated", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  server.put("shop", "Terminating");
  await until("it is terminated", () => server.phase("shop") === "Terminated");
  expect(engine.isEmpty("shop")).toBe(true);
  expect(server.told("shop")).toEqual(["Running", "Terminated"]);
});

test("a crashed container is started again after Docker's event, long before the next resync", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  engine.crash("shop", "web");
  const crashed = performance.now();
  await until("it runs again", () => engine.running("shop").length === 1);
  expect(performance.now() - crashed).toBeLessThan(seconds(20));
  expect(server.told("shop")).toEqual(["Running"]);
});

test.each([-hours(0.5), hours(0.5)])(
  "a container that ends is started again within seconds although the wall clock is set by %d ms",
  async (step) => {
    const [engine, server] = [new WorldEngine(), new Server()];
    server.put("shop");
    await using _run = runProjects(engine, server);
    await until("it runs", () => server.phase("shop") === "Running");
    try {
      engine.crash("shop", "web");
      setSystemTime(Date.now() + step);
      const crashed = performance.now();
      await until("it runs again", () => engine.running("shop").length === 1);
      expect(performance.now() - crashed).toBeWithin(seconds(0.9), seconds(20));
    } finally {
      setSystemTime();
    }
  },
);

test("a crash that Docker's list shows later than its event is seen all the same", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server, { resync: seconds(60) });
  await until("it runs", () => server.phase("shop") === "Running");
  engine.crash("shop", "web", 1, 100);
  const crashed = performance.now();
  await until("it ended", () => engine.running("shop").length === 0);
  await until("it runs again", () => engine.running("shop").length === 1);
  expect(performance.now() - crashed).toBeLessThan(seconds(20));
});

test("a crash that a Docker under load shows seconds after its event is seen, without a resync", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server, { resync: seconds(60) });
  await until("it runs", () => server.phase("shop") === "Running");
  engine.crash("shop", "web", 1, 2_500);
  await until("it ended", () => engine.running("shop").length === 0);
  await until("it runs again", () => engine.running("shop").length === 1);
});

test("when the budget of restarts is spent the project has failed, with the exit code, and rests until there is room again", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  engine.behaviour = () => "ends";
  server.put("shop");
  await using run = runProjects(engine, server, { limit: 1, window: seconds(4) });
  await until("it has failed", () => server.phase("shop") === "Failed");
  expect(server.reports.at(-1)?.report).toMatchObject({ reason: "ContainerCrashed" });
  expect(server.reports.at(-1)?.report.message).toContain("web(exit=1)");
  const starts = (): number => engine.done.filter((text) => text === "shop startContainer web").length;
  expect(starts()).toBe(2);
  const failed = performance.now();
  await until("it is started again", () => starts() === 3);
  expect(performance.now() - failed).toBeGreaterThan(seconds(2));
  expect(run.reconcile.states()).toMatchObject([{ name: "shop", phase: "Failed" }]);
  expect(run.reconcile.orphans()).toEqual([]);
  await until("it failed again", () => run.reconcile.states()[0]?.state === "failed");
  expect(server.told("shop")).toEqual(["Failed"]);
});

test("a service that has failed costs the others nothing: one that ends is started again", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  engine.behaviour = (_, service) => (service === "web" ? "ends" : "runs");
  server.put("shop", "Scheduled", spec(service("web"), service("db")));
  await using run = runProjects(engine, server, { limit: 1 });
  await until("it has failed", () => server.phase("shop") === "Failed");
  await until("the server's list says so", () => run.reconcile.states()[0]?.phase === "Failed");
  engine.crash("shop", "db");
  await until("it runs again", () => engine.running("shop").join() === "shop-db");
  expect(run.reconcile.desired().map(({ name }) => name)).toEqual(["shop"]);
});

test("a corrected specification heals a project that has failed, in place", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  engine.unpullable.add(fullReference("nothing:1"));
  server.put("shop", "Scheduled", spec(service("web", "nothing:1"), service("db")));
  await using _run = runProjects(engine, server);
  await until("it has failed", () => server.phase("shop") === "Failed");
  server.put("shop", "Failed", spec(service("web", "web:1"), service("db")));
  await until("it runs", () => server.phase("shop") === "Running");
  expect(engine.done.filter((text) => text.endsWith("db"))).toEqual([
    "shop createContainer db",
    "shop startContainer db",
  ]);
});

test("while an update waits for its image the old container is kept: it serves, and is started again when it ends", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  engine.unpullable.add(fullReference("nothing:2"));
  server.put("shop", "Running", spec(service("web", "nothing:2")));
  await until("it has failed", () => server.phase("shop") === "Failed");
  expect(server.reports.at(-1)?.report.message).toEndWith("; the previous one still runs");
  await until("the server's list says so", () => run.reconcile.states()[0]?.phase === "Failed");
  engine.crash("shop", "web");
  await until("it runs again", () => engine.running("shop").join() === "shop-web");
  const [container] = engine.world("shop").containers.values();
  expect(container?.image).toBe("web:1");
});

test("a pull that fails for now is shown beside the phase at once, and the phase stays", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  engine.pullFailure = () => new AgentError("pull.failed", "dial tcp: connection refused");
  server.put("shop", "Scheduled", spec(service("web", "far:1")));
  await using _run = runProjects(engine, server);
  await until("it is shown", () => server.reports.length > 0, seconds(2));
  expect(server.reports[0]?.report).toEqual({
    phase: "Scheduled",
    reason: "ReconcileError",
    message: "web: pull failed (far:1: dial tcp: connection refused)",
  });
});

test("a service that ends with 0 by itself has run once, and the project runs", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  engine.behaviour = (_, service) => (service === "job" ? "ends well" : "runs");
  server.put("shop", "Scheduled", spec(service("job"), service("web")));
  await using _run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  expect(server.reports.at(-1)?.report.message).toBe("Containers running: web; completed: job");
  engine.crash("shop", "web");
  await until("it runs again", () => engine.running("shop").join() === "shop-web");
  expect(engine.done.filter((text) => text === "shop startContainer job")).toHaveLength(1);
});

test.each([
  ["the ingress leads to it", { ingress: [{ name: "web", target: { service: "web", port: 80 } }] }, false],
  ["somebody has stopped it", {}, true],
])("a service that ends with 0 is started again when %s", async (_, more, stopped) => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop", "Scheduled", { ...spec(), ...more });
  await using _run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  const [container] = engine.world("shop").containers.values();
  container!.stopped = stopped;
  engine.crash("shop", "web", 0);
  await until("it runs again", () => engine.running("shop").length === 1);
});

test("a container that Docker does not stop is removed by force, however often that is refused, and never brought up again", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  engine.refuse = (text) => /stopContainer|removeContainer/.test(text);
  const asked: string[] = [];
  engine.onStep = (text, when) => void (when === "before" && asked.push(text));
  server.put("shop", "Terminating");
  await until("what keeps it is shown", () => server.reports.length > 1, seconds(15));
  expect(server.reports.at(-1)?.report).toMatchObject({ phase: "Terminating", reason: "RemoveError" });
  expect([asked[0], ...new Set(asked.slice(1))]).toEqual([
    "shop stopContainer web",
    "shop removeContainer web",
  ]);
  expect(run.reconcile.states()).toMatchObject([{ phase: "Terminating", state: "removing" }]);
  engine.refuse = () => false;
  engine.tell({ project: "shop", action: "container health_status" });
  await until("it is terminated", () => server.phase("shop") === "Terminated");
  expect(engine.isEmpty("shop")).toBe(true);
});

test("a network that somebody else uses is asked for at a bounded rate, and goes soon after that one has left", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  let refused = 0;
  engine.refuse = (text) => text.includes("removeNetwork") && ++refused > 0;
  server.put("shop", "Terminating");
  await until("it was refused after two seconds", () => refused === 2);
  engine.refuse = () => false;
  const left = performance.now();
  engine.tell({ project: "shop", action: "network disconnect" });
  await until("it is terminated", () => server.phase("shop") === "Terminated");
  expect(performance.now() - left).toBeLessThan(seconds(3));
});

test("a container that ends a moment after its start is never reported as running", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  engine.behaviour = () => "ends soon";
  server.put("shop");
  await using _run = runProjects(engine, server, { limit: 1 });
  await until("it has failed", () => server.phase("shop") === "Failed");
  expect(server.told("shop")).toEqual(["Failed"]);
});

test("one that ends at once is not reported as running either when Docker's list shows that half a second late", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  engine.onStep = (text, when) => {
    if (text === "shop startContainer web" && when === "after") engine.crash("shop", "web", 1, 500);
  };
  server.put("shop");
  await using _run = runProjects(engine, server, { limit: 1 });
  await until("it has failed", () => server.phase("shop") === "Failed");
  expect(server.told("shop")).toEqual(["Failed"]);
});

test("a project that cannot be read has failed with what is wrong in it, and the others live on", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("broken", "Scheduled", { services: [{ name: "web", image: 7 }] });
  server.put("shop");
  await using _run = runProjects(engine, server);
  await until(
    "both are settled",
    () => server.phase("broken") === "Failed" && server.phase("shop") === "Running",
  );
  const report = server.reports.find(({ name }) => name === "broken")?.report;
  expect(report).toMatchObject({ reason: "ReconcileError" });
  expect(report?.message).toContain("spec.services.0.image");
});

test("one that cannot be read is taken down all the same when it is terminating", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  server.put("shop", "Terminating", "nonsense");
  await until("it is terminated", () => server.phase("shop") === "Terminated");
  expect(engine.isEmpty("shop")).toBe(true);
});

test("while Docker is away nothing fails and nothing is told; when it is back all goes on", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  engine.leave();
  engine.crash("shop", "web");
  server.put("late");
  await until("Docker is known to be away", () => run.daemon.problem()?.includes("no such socket") === true);
  await elapse(seconds(20));
  expect(server.reports.length).toBe(1);
  expect(run.registry.all().find(({ name }) => name === "docker")?.lastError?.message).toContain(
    "no such socket",
  );
  engine.away = false;
  await until(
    "both run",
    () => engine.running("shop").length === 1 && server.phase("late") === "Running",
    minutes(1),
  );
  expect(server.told("shop")).toEqual(["Running"]);
});

test("steps that Docker went away under count for nothing, however often that happens", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  let times = 0;
  engine.onStep = (text, when) => {
    if (text !== "shop startContainer web" || when !== "before" || ++times > 4) return;
    engine.leave();
    setTimeout(() => (engine.away = false), 5); // Docker is back after 5 ms.
  };
  server.put("shop");
  await using _run = runProjects(engine, server);
  await until("it runs", () => engine.running("shop").length === 1, seconds(20));
  await until("the server knows", () => server.phase("shop") !== "Scheduled");
  expect(server.told("shop")).toEqual(["Running"]);
});

test("a specification that changes all the time never has two at work on one project", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  await using _run = runProjects(engine, server, { poll: milliseconds(1) });
  for (let n = 0; n < 40; n++) {
    const env = { N: String(n) };
    server.put("shop", "Scheduled", spec(service("web", "web:1", env), service("db", "db:1", env)));
    await server.polled(1);
  }
  await until("it runs", () => server.phase("shop") === "Running");
  expect(engine.clashes).toEqual([]);
});

test("a report that could not be delivered arrives once when the server is back", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server);
  engine.onStep = (text, when) => {
    if (text === "shop startContainer web" && when === "before") server.away = true;
  };
  await until("it runs on Docker", () => engine.running("shop").length === 1);
  await elapse(seconds(8)); // Reports are kept for 10 s here.
  expect(server.told("shop")).toEqual([]);
  engine.onStep = () => {};
  server.away = false;
  await until("the server knows", () => server.phase("shop") === "Running");
  await server.polled(5);
  expect(server.told("shop")).toEqual(["Running"]);
});

test("a report that waited out a partition is not delivered for a project that another node has by now", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using run = runProjects(engine, server);
  engine.onStep = (text) => {
    if (text === "shop startContainer web") server.away = true;
  };
  await until("it runs on Docker", () => engine.running("shop").length === 1);
  await until("a report has failed", () => run.reports.state().lastError !== undefined);
  engine.onStep = () => {};
  server.put("shop", "Scheduled", spec(), "elsewhere");
  server.away = false;
  await until("it is removed here", () => engine.isDown("shop"));
  expect(server.told("shop")).toEqual([]);
});

test("without its server a machine that boots starts what it ran before", async () => {
  const [engine, server, store] = [new WorldEngine(), new Server(), emptyStore()];
  server.put("shop");
  await (async () => {
    await using _run = runProjects(engine, server, { store });
    await until("it runs", () => server.phase("shop") === "Running");
  })();
  engine.crash("shop", "web", 255);
  server.away = true;
  await using run = runProjects(engine, server, { store });
  await until("it runs again", () => engine.running("shop").length === 1);
  expect(run.lines.join()).toContain("using its last list");
});

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
  expect(server.told("shop")).toEqual(["Running"]);
  expect(run.lines.join()).toContain("warn orphans shop: deleted on the server");
});

test("what is deleted while the server is away stays until the server has said so", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  server.away = true;
  server.projects_.delete("shop");
  await elapse(seconds(20));
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

test("fifty projects come up side by side, never more at work than allowed, none of them twice at once", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  const names = Array.from({ length: 50 }, (_, n) => `shop-${n}`);
  for (const name of names) server.put(name);
  const atWork = new Map<string, number>();
  let most = 0;
  engine.onStep = (text, when) => {
    const [project = ""] = text.split(" ");
    atWork.set(project, (atWork.get(project) ?? 0) + (when === "before" ? 1 : -1));
    most = Math.max(most, [...atWork.values()].filter((count) => count > 0).length);
  };
  await using _run = runProjects(engine, server, { parallel: 4 });
  await until("all run", () => names.every((name) => server.phase(name) === "Running"));
  expect(most).toBeLessThanOrEqual(4);
  expect(engine.clashes).toEqual([]);
  expect(server.reports.length).toBe(50);
  expect(engine.snapshots).toBeLessThan(300);
});

test("two projects that want one container name: the second fails and says who has it", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("a", "Scheduled", spec(service("b-c")));
  await using _run = runProjects(engine, server);
  await until("the first runs", () => server.phase("a") === "Running");
  server.put("a-b", "Scheduled", spec(service("c")));
  await until("the second has failed", () => server.phase("a-b") === "Failed");
  expect(server.reports.at(-1)?.report.message).toContain("project a");
  expect(engine.running("a")).toEqual(["a-b-c"]);
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
