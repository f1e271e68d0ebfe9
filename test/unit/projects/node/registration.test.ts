// The node on the server: its name, its first word, what it says of the machine, and what it does when it is forgotten.
import { expect, test } from "bun:test";
import { steadyNow } from "../../../../src/lib/clock.ts";
import { AgentError } from "../../../../src/lib/agent-error.ts";
import { milliseconds, minutes, seconds } from "../../../../src/lib/duration.ts";
import { LoopRegistry } from "../../../../src/lib/loop.ts";
import { openDatabase } from "../../../../src/platform/database.ts";
import { silent } from "../../../../src/platform/log.ts";
import type {
  NodeHeartbeat,
  NodeRegistration,
  NodeState,
} from "../../../../src/protocol/caravanserai/resources.ts";
import { assignedNamesMigration } from "../../../../src/projects/node/assigned-names.ts";
import { continuityMigration, createContinuity } from "../../../../src/projects/node/continuity.ts";
import { createDrain, drainMigration } from "../../../../src/projects/node/drain.ts";
import { nodeName } from "../../../../src/projects/node/name.ts";
import { nodeState, startNode } from "../../../../src/projects/node/registration.ts";
import {
  asResources,
  createResources,
  mebibytes,
  millicores,
} from "../../../../src/projects/node/capacity.ts";
import { routeAddress } from "../../../../src/projects/node/own-address.ts";
import { timePasses, quickClock } from "../../../support/fake-time.ts";
import { until } from "../harness.ts";

test.each([
  ["Web_01.Example.COM", "web-01.example.com"],
  ["_web-", "web"],
  ["a".repeat(300), "a".repeat(253)],
])("the host's name %s makes the node %s", (host, name) => {
  expect(nodeName(host, false)).toBe(name);
});

test.each([
  ["Web-1", true],
  ["-web", true],
  ["___", false],
  ["büro", false],
])("%s is refused (chosen: %p), with the setting to change", (name, chosen) => {
  const failure = (): string => nodeName(name, chosen);
  expect(failure).toThrow(/node_name/);
  expect(failure).toThrow(AgentError);
});

test("amounts are written as Kubernetes writes them, rounded down", () => {
  expect([millicores(4), millicores(1.5999), millicores(-1)]).toEqual(["4000m", "1599m", "0m"]);
  expect([mebibytes(16 * 2 ** 30), mebibytes(2 ** 20 - 1), mebibytes(Number.NaN)]).toEqual([
    "16384Mi",
    "0Mi",
    "0Mi",
  ]);
});

test("all processors are allocatable whatever the load, and what is free is never more than there is, and never less than nothing", () => {
  const { capacity, allocatable } = asResources({
    cores: 2,
    memory: 2 ** 30,
    memoryFree: 2 ** 31,
    disk: 2 ** 30,
    diskFree: 2 ** 29,
  });
  expect(allocatable).toEqual({ cpu: "2000m", memory: capacity.memory, disk: "512Mi" });
});

test("a disk that does not answer keeps its last numbers, and holds nobody up", async () => {
  let stuck = false;
  const fill = (path: string) =>
    stuck
      ? new Promise<never>(() => {})
      : Promise.resolve({ bsize: 4096, blocks: path === "/data" ? 512 : 256, bavail: 256 });
  const read = createResources({ dataRoot: () => "/data", statfs: fill, diskTimeout: milliseconds(30) });
  expect((await read()).capacity.disk).toBe("2Mi");
  stuck = true;
  expect((await read()).capacity.disk).toBe("2Mi");
});

test("a data root that cannot be asked makes way for the root of all", async () => {
  const read = createResources({ dataRoot: () => "/no/such/place" });
  expect((await read()).capacity.disk).toMatch(/^[1-9]\d*Mi$/);
});

test("the address is that of the route to the server, in IPv4 where there is one", async () => {
  expect(await routeAddress("http://127.0.0.1:8080/base")).toBe("127.0.0.1");
  expect(await routeAddress("http://localhost:8080")).toBe("127.0.0.1");
  expect(await routeAddress("http://no-such-host.invalid:8080")).toBeUndefined();
});

test("an IPv6 server is reached from an IPv6 address", async () => {
  expect(await routeAddress("http://[::1]:8080")).toBe("::1");
});

test("a node whose Docker is being restarted stays Ready; one whose Docker is away for long takes no projects", () => {
  expect(nodeState(false, { wasReached: true, unreachableFor: minutes(2) })).toBe("Ready");
  expect(nodeState(false, { wasReached: true, unreachableFor: minutes(5) })).toBe("NotReady");
  expect(nodeState(true, { wasReached: true, unreachableFor: minutes(5) })).toBe("Draining");
});

test("a node whose Docker has never answered is not Ready, and at the start nothing is said of it", () => {
  expect(nodeState(false, { wasReached: false, unreachableFor: seconds(1) })).toBeUndefined();
  expect(nodeState(false, { wasReached: false, unreachableFor: seconds(11) })).toBe("NotReady");
  expect(nodeState(true, { wasReached: false, unreachableFor: seconds(1) })).toBe("Draining");
});

test("the word to drain outlives the agent, and can be taken back", () => {
  const database = openDatabase(":memory:", [drainMigration]);
  createDrain(database).start();
  expect(createDrain(database).since()).toMatch(/^\d{4}-/);
  createDrain(database).end();
  expect(createDrain(database).since()).toBeUndefined();
});

const INFO = { kernelVersion: "6.1.0", osImage: "Debian GNU/Linux 12", agentVersion: "1.2.3" };

const status = (status: number, message = "no"): AgentError =>
  new AgentError("http.status", message, { status });

function running(
  fails: (call: string, nth: number) => Error | undefined = () => undefined,
  resources: () => Promise<object> = () => Promise.resolve({}),
  state: () => NodeState | undefined = () => "Ready",
) {
  const calls: string[] = [];
  const beats: NodeHeartbeat[] = [];
  const registrations: NodeRegistration[] = [];
  const end = new AbortController();
  const registry = new LoopRegistry();
  const database = openDatabase(":memory:", [assignedNamesMigration, continuityMigration]);
  const continuity = createContinuity(database, "server", "web-1", silent);
  const call = (name: string): Promise<void> => {
    calls.push(name);
    const failure = fails(name, calls.filter((one) => one === name).length);
    return failure === undefined ? Promise.resolve() : Promise.reject(failure);
  };
  const node = startNode(
    {
      api: {
        register: (body) => (registrations.push(body), call("register")),
        heartbeat: (_, body) => (beats.push(body), call("heartbeat")),
        nodePlace: async () => ({
          metadata: { createdAt: `registration ${calls.filter((one) => one === "register").length}` },
          status: { state: "Ready", network: undefined },
        }),
      },
      continuity,
      name: "web-1",
      info: INFO,
      state,
      address: () => Promise.resolve("10.0.0.5"),
      agentPort: () => 9_090,
      resources: resources as never,
      registry,
      log: silent,
      random: () => 0,
    },
    seconds(30),
    end.signal,
  );
  return {
    calls,
    beats,
    registrations,
    continuity,
    record: () => registry.all()[0],
    node,
    [Symbol.asyncDispose]: () => (end.abort(), node.done),
  };
}

test("it registers and is Ready at once, long before the first interval is over", async () => {
  await using it = running();
  await until("it was told", () => it.node.reported() === "Ready", milliseconds(500));
  expect(it.calls).toEqual(["register", "heartbeat"]);
  expect(it.beats[0]).toEqual({
    state: "Ready",
    network: { ip: "10.0.0.5", mode: "Direct", agentPort: 9_090 },
    info: INFO,
  });
  expect(it.registrations).toEqual([
    { apiVersion: "caravanserai/v1", kind: "Node", metadata: { name: "web-1" }, spec: { hostname: "web-1" } },
  ]);
});

test("a node that the server has forgotten registers again within the same beat", async () => {
  await using it = running((call, nth) => (call === "heartbeat" && nth === 1 ? status(404) : undefined));
  await until("it was told", () => it.node.reported() === "Ready", milliseconds(500));
  expect(it.calls).toEqual(["register", "heartbeat", "register", "heartbeat"]);
});

test("a server that has forgotten the node answers from another memory from then on", async () => {
  let is404 = false;
  await using it = running(
    (call) => {
      if (call !== "heartbeat" || !is404) return undefined;
      is404 = false;
      return status(404);
    },
    undefined,
    () => (is404 ? "Draining" : "Ready"),
  );
  await until("its memory is known", () => it.continuity.memory() !== undefined);
  const before = it.continuity.memory();
  is404 = true;
  it.node.hurry();
  await until(
    "it is known again",
    () => it.calls.join() === "register,heartbeat,heartbeat,register,heartbeat",
  );
  await until("its memory is known again", () => it.continuity.memory() !== undefined);
  expect(it.continuity.memory()).not.toBe(before);
});

test("a name that the server does not take is explained by its setting, and not asked for every second", async () => {
  await using it = running((call) => (call === "register" ? status(400, "invalid name") : undefined));
  await until("it failed", () => it.record()?.lastError !== undefined);
  expect(it.record()?.lastError?.message).toContain('"web-1": invalid name; set node_name');
  expect((it.record()?.nextAt ?? 0) - steadyNow()).toBeGreaterThan(minutes(4));
});

test("a server that is away is asked again soon, and sooner than every interval", async () => {
  using _clock = quickClock();
  await using it = running((_, nth) =>
    nth <= 1 ? new AgentError("net.refused", "connection refused") : undefined,
  );
  await until("it was told", () => it.node.reported() === "Ready", seconds(4));
});

test("a heartbeat goes out also when the machine cannot be measured", async () => {
  await using it = running(undefined, () => Promise.reject(new Error("the disk does not answer")));
  await until("it was told", () => it.node.reported() === "Ready", milliseconds(500));
});

test("the first heartbeat waits for no state, and the state follows as soon as it is known", async () => {
  let state: NodeState | undefined;
  await using it = running(undefined, undefined, () => state);
  await until("it was heard of", () => it.beats.length === 1);
  expect(it.beats[0]).not.toHaveProperty("state");
  await until("it rests", () => it.record()?.nextAt !== undefined);
  it.node.hurry();
  state = "Ready";
  it.node.hurry();
  await until("it was told", () => it.node.reported() === "Ready");
  expect(it.beats.map((beat) => beat.state)).toEqual([undefined, "Ready"]);
});

test("a hurry that has nothing new to tell is no heartbeat", async () => {
  using _clock = quickClock();
  await using it = running();
  await until("it rests", () => it.record()?.nextAt !== undefined);
  for (let n = 0; n < 20; n++) {
    it.node.hurry();
    await timePasses(seconds(1));
  }
  expect(it.beats).toHaveLength(1);
});
