// The reconcile loop while Docker or the server is away: nothing fails, nothing is lost, and all goes on afterwards.
import { expect, setDefaultTimeout, test } from "bun:test";
import { minutes, seconds } from "../../../../src/lib/duration.ts";
import { timePasses, runByQuickClock } from "../../../support/fake-time.ts";
import { WorldEngine } from "../../../support/world-engine.ts";
import { Server, emptyStore, runProjects, spec, until } from "../harness.ts";

setDefaultTimeout(150_000);
runByQuickClock();

test("while Docker is away nothing fails and nothing is told; when it is back all goes on", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using run = runProjects(engine, server);
  await until("it runs", () => server.phase("shop") === "Running");
  engine.leave();
  engine.crash("shop", "web");
  server.put("late");
  await until("Docker is known to be away", () => run.daemon.problem()?.includes("no such socket") === true);
  await timePasses(seconds(20));
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
  expect(server.reported("shop")).toEqual(["Running"]);
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
  expect(server.reported("shop")).toEqual(["Running"]);
});

test("a report that could not be delivered arrives once when the server is back", async () => {
  const [engine, server] = [new WorldEngine(), new Server()];
  server.put("shop");
  await using _run = runProjects(engine, server);
  engine.onStep = (text, when) => {
    if (text === "shop startContainer web" && when === "before") server.away = true;
  };
  await until("it runs on Docker", () => engine.running("shop").length === 1);
  await timePasses(seconds(2));
  expect(server.reported("shop")).toEqual([]);
  engine.onStep = () => {};
  server.away = false;
  await until("the server knows", () => server.phase("shop") === "Running", minutes(1));
  await server.polled(5);
  expect(server.reported("shop")).toEqual(["Running"]);
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
  expect(server.reported("shop")).toEqual([]);
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
