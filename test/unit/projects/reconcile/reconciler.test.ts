// The reconcile loop: what the server asks for comes about on Docker, and is started again when it ends.
import { expect, setDefaultTimeout, setSystemTime, test } from "bun:test";
import { hours, milliseconds, seconds } from "../../../../src/lib/duration.ts";
import { AgentError } from "../../../../src/lib/agent-error.ts";
import { fullReference } from "../../../../src/projects/plan/images.ts";
import { runByQuickClock } from "../../../support/fake-time.ts";
import { WorldEngine } from "../../../support/world-engine.ts";
import { Server, runProjects, service, spec, until } from "../harness.ts";

setDefaultTimeout(150_000);
runByQuickClock();

test("a scheduled project comes up and is told of as running, once", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop", "Scheduled", spec(service("web"), service("db", "db:1")));
  await using _run = runProjects(engine, server);
  await until("it runs on the server", () => server.phase("shop") === "Running");
  expect(engine.running("shop")).toEqual(["shop-db", "shop-web"]);
  await server.polled(5);
  expect(server.reported("shop")).toEqual(["Running"]);
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
  expect(server.reported("shop")).toEqual(["Running", "Terminated"]);
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
  expect(server.reported("shop")).toEqual(["Running"]);
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
  expect(server.reported("shop")).toEqual(["Failed"]);
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
  expect(server.reported("shop")).toEqual(["Failed"]);
});

test("one that ends at once is not reported as running either when Docker's list shows that half a second late", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  engine.onStep = (text, when) => {
    if (text === "shop startContainer web" && when === "after") engine.crash("shop", "web", 1, 500);
  };
  server.put("shop");
  await using _run = runProjects(engine, server, { limit: 1 });
  await until("it has failed", () => server.phase("shop") === "Failed");
  expect(server.reported("shop")).toEqual(["Failed"]);
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
