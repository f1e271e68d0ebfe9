// The plane within the agent: alone or beside the other one, whatever is away, and what the status says of it.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { type Agent, startAgent } from "../../../src/agent/agent.ts";
import { milliseconds, seconds } from "../../../src/lib/duration.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { silent } from "../../../src/platform/log.ts";
import { WorldEngine } from "../../support/world-engine.ts";
import { serve } from "../control/servers.ts";
import { Server, until } from "./harness.ts";

setDefaultTimeout(150_000);

/** The server object behind a real socket. */
function served(server: Server, onState: (state: string | undefined) => void = () => {}) {
  return serve(async (request) => {
    const { pathname } = new URL(request.url);
    if (server.away) return Response.json({ detail: "away" }, { status: 503 });
    const name = pathname.split("/")[4] ?? "";
    if (pathname === "/api/v1/nodes") return Response.json({ metadata: { name: "here" } }, { status: 201 });
    if (pathname.endsWith("/heartbeat")) {
      onState(((await request.json()) as { state?: string }).state);
      return new Response(null, { status: 204 });
    }
    if (pathname === "/api/v1/projects")
      return Response.json({ kind: "ProjectList", items: await server.projects("here") });
    if (pathname.endsWith("/status")) {
      await server.report(name, (await request.json()) as never);
      return new Response(null, { status: 204 });
    }
    const place = await server.place(name);
    return place ? Response.json(place) : Response.json({ title: "Not Found", status: 404 }, { status: 404 });
  });
}

async function agentOf(
  settings: Record<string, string>,
  engine = new WorldEngine(),
): Promise<{ agent: Agent; directory: string } & AsyncDisposable> {
  const directory = mkdtempSync(join(tmpdir(), "plane-"));
  const config = await loadConfig({
    env: {},
    cwd: directory,
    search: { yaml: [], json: [] },
    flags: new Map(
      Object.entries({
        state_file: join(directory, "identity.json"),
        project_poll_interval: "50ms",
        ...settings,
      }),
    ) as never,
  });
  const agent = await startAgent({
    settings: config.settings,
    nodeNameChosen: true,
    log: silent,
    warnings: [],
    engine,
  }).catch((error: unknown) => {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  });
  return {
    agent,
    directory,
    async [Symbol.asyncDispose]() {
      await agent.stop(milliseconds(500));
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

test("alone, it registers, runs its projects and says so", async () => {
  const [server, engine] = [new Server(), new WorldEngine()];
  server.put("shop");
  await using address = served(server);
  await using it = await agentOf({ server_url: address.url, node_name: "here" }, engine);
  await until("it runs on the server", () => server.phase("shop") === "Running");
  await until("the node is Ready", () => it.agent.status().caravanserai?.state === "Ready");
  const status = it.agent.status();
  expect(status.noderax).toBeNull();
  expect(status.caravanserai).toMatchObject({
    node: "here",
    docker: { version: "28.0.0", trouble: null },
    projects: [{ name: "shop", state: "running" }],
    orphans: [],
  });
  expect(status.loops.every(({ plane }) => plane === "caravanserai" || plane === "agent")).toBe(true);
  const machine = status.loops.filter(({ plane }) => plane === "agent").map(({ name }) => name);
  expect(machine).toEqual(["disk", "memory"]);
});

test("without Docker the node is heard of and not Ready, the trouble is said, and the projects are unknown", async () => {
  const [server, engine] = [new Server(), new WorldEngine()];
  engine.away = true;
  server.put("shop");
  const states: (string | undefined)[] = [];
  await using address = served(server, (state) => void states.push(state));
  await using it = await agentOf({ server_url: address.url, node_name: "here" }, engine);
  await until("the trouble is said", () => it.agent.status().caravanserai?.docker.trouble !== null);
  await until("the node is heard of", () => states.length > 0);
  await until("the project is known", () => it.agent.status().caravanserai?.projects.length === 1);
  expect(it.agent.status().caravanserai?.projects[0]).toMatchObject({ state: "unknown" });
  expect(server.reports).toEqual([]);
  expect(states.filter((state) => state === "Ready")).toEqual([]);
  engine.away = false;
  await until("it is Ready", () => states.at(-1) === "Ready");
});

test("beside a control plane that nobody has enrolled with, it runs its projects", async () => {
  const server = new Server();
  server.put("shop");
  await using address = served(server);
  await using it = await agentOf({
    server_url: address.url,
    node_name: "here",
    api_url: "http://127.0.0.1:9",
    task_user: "nobody",
  });
  await until("it runs on the server", () => server.phase("shop") === "Running");
  expect(it.agent.status().noderax?.standing).toBe("not_enrolled");
});

test("a machine that boots without its server starts its containers, also in another process", async () => {
  const [server, engine] = [new Server(), new WorldEngine()];
  server.put("shop");
  await using address = served(server);
  const settings = { server_url: address.url, node_name: "here" };
  await using first = await agentOf(settings, engine);
  await until("it runs on the server", () => server.phase("shop") === "Running");
  await first.agent.stop(milliseconds(500));
  server.away = true;
  engine.crash("shop", "web", 255);
  await using _again = await agentOf(
    { ...settings, state_file: join(first.directory, "identity.json") },
    engine,
  );
  await until("it runs again", () => engine.running("shop").length === 1);
});

test("a node name that cannot be is refused before anything is opened", async () => {
  const refused = agentOf({ server_url: "http://127.0.0.1:9", node_name: "Bad_Name" }).then(
    () => "started",
    String,
  );
  expect(await refused).toContain("node_name");
});

test("a stop in the middle of everything ends soon", async () => {
  const server = new Server();
  for (let n = 0; n < 20; n++) server.put(`shop-${n}`);
  await using address = served(server);
  await using it = await agentOf({ server_url: address.url, node_name: "here" });
  await until("something runs", () => server.reports.length > 0);
  const asked = performance.now();
  await it.agent.stop(seconds(40));
  expect(performance.now() - asked).toBeLessThan(seconds(20));
});
