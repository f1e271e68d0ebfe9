// Projects of the compiled agent on a real Docker Engine: how fast they come up and come back, and what 50 of them cost.
import { connect, createServer } from "node:net";
import { type Duration, milliseconds, minutes, seconds } from "../../src/lib/duration.ts";
import { type DesiredProject, desire } from "../../src/projects/plan/desired.ts";
import { planProject } from "../../src/projects/plan/project.ts";
import { containerName } from "../../src/projects/plan/names.ts";
import { type Operator, enrolled, until } from "../support/dev.ts";
import { docker } from "../support/docker.ts";
import { World } from "../support/docker-world.ts";
import { missingRegistry, startRegistry } from "../support/registry.ts";
import type { Bench } from "./bench.ts";
import { busyTimeOf, coldCopy, memoryOf, once } from "./process-figures.ts";
import { SOCKET, bothPlanes, phases, project, unmet, untilReady, untilRunning, world } from "./world.ts";
import { elapse } from "../support/until.ts";

const NODE = "bench-1";
const MANY = 50;
const IDLE_FOR = seconds(30);
const PULLING_FOR = seconds(20);

const planes = (sandbox: { readonly url: string }, socket = SOCKET): Record<string, string> =>
  bothPlanes(NODE, sandbox, socket);

/** Between one project and the next, so that they meet the agent's poll at all its moments. */
const stagger = (n: number): Duration => milliseconds((n * 370) % 3_000);

/** An enrolled agent is started again and again, as after an update. */
async function startToReady(): Promise<number[]> {
  await using here = await world();
  const { host, sandbox } = here;
  await enrolled(host, sandbox, NODE);
  const samples: number[] = [];
  for (let repetition = -1; repetition < 10; repetition++) {
    const begun = performance.now();
    await using _agent = host.start(["run"], { env: planes(sandbox) });
    await untilReady(sandbox);
    if (repetition >= 0) samples.push(performance.now() - begun);
    await sandbox.call("DELETE", `/cara/nodes/${NODE}`);
  }
  return samples;
}

/** One project after the other, and then of each its container is killed: Docker's own clock tells how long it was away. */
const single = once(async () => {
  await using here = await world();
  const { host, sandbox, image, name } = here;
  await using _agent = host.start(["run"], { env: planes(sandbox) });
  await untilReady(sandbox);
  const up: number[] = [];
  for (let n = 0; n < 15; n++) {
    await elapse(stagger(n));
    const begun = performance.now();
    await sandbox.call("PUT", "/cara/projects", project(name(n), image));
    await untilRunning(sandbox, name(n));
    up.push(performance.now() - begun);
  }
  const back: number[] = [];
  for (let n = 0; n < up.length; n++) {
    const container = containerName(name(n), "web");
    const snapshot = async (): Promise<string[]> => {
      const format = "{{.State.Running}} {{.State.FinishedAt}} {{.State.StartedAt}}";
      return (await docker("inspect", "--format", format, container)).split(" ");
    };
    const [, , started] = await snapshot();
    await docker("kill", container);
    const [, ended = "", again = ""] = await until("it runs again", async () => {
      const now = await snapshot();
      return now[0] === "true" && now[2] !== started ? now : undefined;
    });
    back.push(Date.parse(again) - Date.parse(ended));
  }
  return { up, back };
});

/** Fifty projects at once, and then an agent that keeps them. */
const fifty = once(async () => {
  await using here = await world();
  const { host, sandbox, image, name } = here;
  const file = await coldCopy(host.at("noderax-agent"));
  await enrolled(host, sandbox, NODE);
  using counted = await countCalls(host.at("docker"));
  await using agent = host.start(["run"], { file, env: planes(sandbox, counted.socket) });
  await untilReady(sandbox);
  await elapse(seconds(5)); // What a start costs is not counted.
  const before = counted.calls();
  const begun = performance.now();
  const manifests = Array.from({ length: MANY }, (_, n) => project(name(n), image));
  await Promise.all(manifests.map((manifest) => sandbox.call("PUT", "/cara/projects", manifest)));
  await until(
    "all run",
    async () => {
      await elapse(milliseconds(100));
      return (await phases(sandbox)).filter((phase) => phase === "Running").length === MANY;
    },
    minutes(5),
  );
  const took = (performance.now() - begun) / 1_000;
  const calls = counted.calls() - before;
  await elapse(seconds(35)); // Until the last events are looked at, and the server is asked at its usual pace again.
  const [busyBefore, callsBefore] = [busyTimeOf(agent.pid), counted.calls()];
  await elapse(IDLE_FOR);
  return {
    took,
    calls,
    memory: memoryOf(agent.pid),
    busy: ((busyTimeOf(agent.pid) - busyBefore) / IDLE_FOR) * 100,
    idleCalls: ((counted.calls() - callsBefore) / IDLE_FOR) * minutes(1),
  };
});

/** Stands between agent and daemon, passes everything on, and counts requests. */
async function countCalls(socket: string) {
  let calls = 0;
  const server = createServer((client) => {
    const upstream = connect(SOCKET);
    client.on("data", (bytes) => (calls += bytes.toString("latin1").split(" HTTP/1.1\r\n").length - 1));
    client.pipe(upstream).pipe(client);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const)
      one.on("error", () => other.destroy()).on("close", () => other.destroy());
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(socket, resolve);
  await promise;
  return { socket, calls: () => calls, [Symbol.dispose]: () => void server.close() };
}

/** A hundred projects of ten services: nothing there but the network, all made and none started, all running. */
function planning(): number[] {
  const services = Array.from({ length: 10 }, (_, n) => ({ name: `s${n}`, image: "app:1" }));
  const desired = Array.from({ length: 100 }, (_, n) =>
    desire({
      metadata: { name: `p${n}` },
      spec: {
        services: services.map((one) => ({ ...one, env: [{ name: "A", value: "1" }], volumeMounts: [] })),
        volumes: [{ name: "data", type: "Ephemeral" }],
        ingress: [],
      },
      status: { phase: "Scheduled", nodeRef: NODE },
    }),
  );
  // Foundation, pull, create, start: so many rounds bring it up.
  const worlds = [2, 3, 5].map((rounds) => desired.map((one) => ({ one, world: brought(one, rounds) })));
  const situations = worlds.map((all) => all.map(({ one, world }) => ({ one, now: world.situation() })));
  const last = situations.at(-1)?.map(({ one, now }) => planProject(one, now).report?.phase);
  if (!last?.every((phase) => phase === "Running")) throw new Error("the last of them were to be running");
  return Array.from({ length: 20 }, () => {
    const times = situations.map((all) => {
      const begun = performance.now();
      for (const { one, now } of all) planProject(one, now);
      return performance.now() - begun;
    });
    return Math.max(...times);
  });
}

function brought(desired: DesiredProject, rounds: number): World {
  const world = new World(desired.name);
  for (let round = 0; round < rounds; round++) world.round(desired);
  world.now += seconds(30);
  return world;
}

/** The longest time by which a heartbeat came later than its interval, and its spread, say. */
async function lateness(): Promise<number[]> {
  await using here = await world();
  const { host, sandbox, name } = here;
  await using registry = await startRegistry();
  const layers = await Promise.all([1, 2, 3, 4].map((n) => registry.push(`layer${n}:1`, 16_000_000)));
  const pushed = Array.from({ length: MANY }, (_, n) => ({ n, from: layers[n % layers.length] ?? "" }));
  for (const image of layers) await docker("pull", "--quiet", image);
  for (const { n, from } of pushed) {
    await docker("tag", from, `${registry.host}/app${n}:1`);
    await docker("push", "--quiet", `${registry.host}/app${n}:1`);
    await docker("image", "rm", `${registry.host}/app${n}:1`);
  }
  for (const image of layers) await docker("image", "rm", image);
  registry.fault = "trickle";
  using heard = heartbeatsOf(sandbox);
  const every = seconds(1);
  const env = { ...planes(heard), HEARTBEAT_INTERVAL: "1s", NODERAX_MAX_PARALLEL_PULLS: `${MANY}` };
  await using _agent = host.start(["run"], { env });
  await untilReady(sandbox);
  for (const { n } of pushed)
    await sandbox.call("PUT", "/cara/projects", project(name(n), `${registry.host}/app${n}:1`));
  await elapse(seconds(2)); // The agent has heard of them, and asks the registry.
  const begun = heard.at.length;
  await elapse(PULLING_FOR);
  const gaps = heard.at.slice(begun).map((at, n) => at - (heard.at[begun + n - 1] ?? at));
  if ((await phases(sandbox)).every((phase) => phase === "Running")) throw new Error("no pull was slow");
  return [Math.max(0, ...gaps.slice(1).map((gap) => gap - every * 1.1))];
}

/** Stands between agent and sandbox, passes everything on, and notes when heartbeats came. */
function heartbeatsOf({ url }: Operator) {
  const at: number[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      if (pathname.endsWith("/heartbeat")) at.push(performance.now());
      const body = request.method === "GET" ? {} : { body: await request.text() };
      const { method, headers } = request;
      return fetch(url + pathname + search, { method, headers, ...body });
    },
  });
  return { url: server.url.origin, at, [Symbol.dispose]: () => void server.stop(true) };
}

const onDocker = [
  { name: "start → Ready", unit: "ms", limit: 1_000, run: startToReady },
  { name: "Scheduled → Running", unit: "ms", limit: 2_000, run: async () => (await single()).up },
  { name: "container killed → running", unit: "ms", limit: 2_000, run: async () => (await single()).back },
  { name: `${MANY} projects, all Running`, unit: "s", run: async () => [(await fifty()).took] },
  { name: "calls to Docker meanwhile", unit: "calls", run: async () => [(await fifty()).calls] },
  {
    name: `${MANY} running projects, resident memory`,
    unit: "MB",
    limit: 56,
    run: async () => [(await fifty()).memory.resident],
  },
  { name: "anonymous part of it", unit: "MB", run: async () => [(await fifty()).memory.anonymous] },
  {
    name: `${MANY} running projects, processor`,
    unit: "% of a core",
    limit: 0.5,
    run: async () => [(await fifty()).busy],
  },
  { name: "calls to Docker then", unit: "calls/min", run: async () => [(await fifty()).idleCalls] },
] satisfies Bench[];

if (unmet !== undefined) console.warn(`benches of projects are skipped: this machine lacks ${unmet}`);
else if (missingRegistry !== undefined)
  console.warn(`the bench of pulls is skipped: this machine lacks ${missingRegistry}`);

export default [
  {
    name: "planning 100 projects × 10 services",
    unit: "ms",
    limit: 20,
    run: () => Promise.resolve(planning()),
  },
  ...(unmet === undefined ? onDocker : []),
  ...(unmet === undefined && missingRegistry === undefined
    ? [{ name: `latest heartbeat during ${MANY} slow pulls`, unit: "ms late", limit: 1_000, run: lateness }]
    : []),
] satisfies Bench[];
