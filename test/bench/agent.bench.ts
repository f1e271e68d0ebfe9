// What the compiled agent costs, and how fast it is, against a sandbox in a process of its own.
import { createHash } from "node:crypto";
import { chmodSync, createReadStream, statSync } from "node:fs";
import { createOutbox, outboxMigration } from "../../src/control/outbox.ts";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { openDatabase } from "../../src/platform/database.ts";
import { temporaryDirectory } from "../support/binary.ts";
import { type Operator, enrolled, machine, startSandbox, until } from "../support/dev.ts";
import type { Bench } from "./bench.ts";
import { busyTimeOf, coldCopy, growthDuring, memoryOf, once } from "./process-figures.ts";
import { elapse } from "../support/until.ts";

const NODE = "bench-1";
const IDLE_FOR = seconds(20);

/** Three enrolled agents with default intervals, left alone. */
const idle = once(async () => {
  await using world = new AsyncDisposableStack();
  const home = world.use(machine());
  const file = await coldCopy(home.at("noderax-agent"));
  const sandbox = world.use(await startSandbox(home));
  const pids: number[] = [];
  for (let n = 1; n <= 3; n++) {
    const host = world.use(machine());
    await enrolled(host, sandbox, `bench-${n}`);
    pids.push(world.use(host.start(["run"], { file })).pid);
  }
  await until("all are online", async () => {
    const nodes = (await sandbox.call("GET", "/nodes")) as { status: string }[];
    return nodes.every(({ status }) => status === "online");
  });
  await elapse(seconds(2)); // The start is not idleness.
  const before = pids.map(busyTimeOf);
  const begun = performance.now();
  await elapse(IDLE_FOR);
  const took = performance.now() - begun;
  return {
    memory: pids.map(memoryOf),
    busy: pids.map((pid, i) => ((busyTimeOf(pid) - (before[i] ?? 0)) / took) * 100),
  };
});

/** From the claim's answer leaving the server's side to the clock that the task itself reads. */
async function claimToStart(): Promise<number[]> {
  using host = machine();
  await using sandbox = await startSandbox(host);
  // So that the server's own pace (a look at its queue every 500 ms) does not stretch the bench.
  await sandbox.call("PUT", "/timings", { claim_step: "20ms" });
  using watched = claimsOf(sandbox);
  await enrolled(host, { ...sandbox, url: watched.url }, NODE);
  await using _agent = host.start(["run"]);
  const samples: number[] = [];
  for (let repetition = -2; repetition < 30; repetition++) {
    const id = await sandbox.order(NODE, "date +%s%N");
    const { output } = await sandbox.sees(id, "success");
    const claimed = watched.answeredAt.get(id);
    if (claimed === undefined) throw new Error(`nobody saw the claim of ${id}`);
    // The first two fill caches and are not counted.
    if (repetition >= 0) samples.push(Number(output) / 1e6 - claimed);
  }
  return samples;
}

/** From the order to the clock that the task itself reads, at the server's own pace; `announced` with `task.dispatch`. */
async function createdToStart(announced: boolean): Promise<number[]> {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await sandbox.call("PUT", "/faults", { task_dispatch: announced });
  await enrolled(host, sandbox, NODE);
  await using _agent = host.start(["run"]);
  await until("it is online", async () => {
    const nodes = (await sandbox.call("GET", "/nodes")) as { status: string }[];
    return nodes.every(({ status }) => status === "online");
  });
  const samples: number[] = [];
  for (let repetition = -3; repetition < 30; repetition++) {
    // Spread over the server's interval of 500 ms between two looks at its queue.
    await elapse(seconds(0.2 + Math.random() / 2));
    const created = performance.timeOrigin + performance.now();
    const { output } = await sandbox.sees(await sandbox.order(NODE, "date +%s%N"), "success");
    // The first show the agent that tasks are announced.
    if (repetition >= 0) samples.push(Number(output) / 1e6 - created);
  }
  return samples;
}

/** Stands between agent and sandbox, passes everything on, and notes when a claim was answered with a task. */
function claimsOf({ url }: Operator) {
  const answeredAt = new Map<string, number>();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 60,
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      const body = request.method === "GET" ? {} : { body: await request.text() };
      const { method, headers } = request;
      const answer = await fetch(url + pathname + search, { method, headers, ...body });
      const text = await answer.text();
      if (pathname.endsWith("/tasks/claim")) {
        const { task } = JSON.parse(text) as { task: { id: string } | null };
        if (task !== null) answeredAt.set(task.id, performance.timeOrigin + performance.now());
      }
      return new Response(text, { status: answer.status, headers: { "content-type": "application/json" } });
    },
  });
  return {
    url: server.url.origin,
    answeredAt,
    [Symbol.dispose]: () => void server.stop(true),
  };
}

const LINES = 2_000_000;
const FLOOD = `seq -f 'line %.0f of some longer text, as a compiler or a package manager prints it' ${LINES}`;

/** A task that writes two million lines as fast as it can, three times. */
const flood = once(async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, NODE);
  await using agent = host.start(["run"]);
  await sandbox.sees(await sandbox.order(NODE, "seq 100000"), "success");
  const wanted = checksum(Bun.spawn(["/bin/sh", "-c", FLOOD]).stdout);
  const rates: number[] = [];
  const growth: number[] = [];
  for (let repetition = 0; repetition < 3; repetition++) {
    let id = "";
    growth.push(
      await growthDuring(agent.pid, async () => {
        id = await sandbox.order(NODE, FLOOD);
        await sandbox.sees(id, "running");
        const begun = performance.now();
        await until("it ends", async () => (await sandbox.task(id)).status === "success", minutes(1));
        rates.push(LINES / ((performance.now() - begun) / 1_000));
      }),
    );
    const kept = await checksum(createReadStream(host.at(`work/data/tasks/${id}/stdout.log`)));
    if (kept !== (await wanted)) throw new Error("the spool is not what the task has written");
  }
  return { rates, growth };
});

async function checksum(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  let lines = 0;
  for await (const bytes of stream) {
    hash.update(bytes);
    for (const byte of bytes) if (byte === 0x0a) lines++;
  }
  if (lines !== LINES) throw new Error(`${lines} lines instead of ${LINES}`);
  return hash.digest("hex");
}

async function twoHundred(): Promise<number[]> {
  const samples: number[] = [];
  for (let repetition = 0; repetition < 3; repetition++) {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, NODE);
    await using _agent = host.start(["run"]);
    await sandbox.sees(await sandbox.order(NODE, "true"), "success");
    const begun = performance.now();
    await Promise.all(Array.from({ length: 200 }, () => sandbox.order(NODE, "echo done")));
    await until(
      "all have succeeded",
      async () => (await sandbox.tasks()).every(({ status }) => status === "success"),
      minutes(2),
    );
    samples.push((performance.now() - begun) / 1_000);
  }
  return samples;
}

const HEAVY = 400;
/** One variable of a command has 128 KiB at most: eight of them are a payload of 1 MB. */
const LOAD = Object.fromEntries(Array.from({ length: 8 }, (_, n) => [`LOAD_${n}`, "x".repeat(125_000)]));
const SLOTS = 8;

/** 400 tasks with a megabyte each are ordered while every slot is taken, and then worked off. */
async function heavyPayloads(): Promise<number[]> {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await sandbox.call("PUT", "/timings", { claim_step: "20ms" });
  await enrolled(host, sandbox, NODE);
  await using agent = host.start(["run"], { env: { MAX_PARALLEL_TASKS: `${SLOTS}` } });
  const go = host.at("go");
  const blocker = `until [ -e ${go} ]; do sleep 0.2; done`;
  for (let n = 0; n < SLOTS; n++) await sandbox.sees(await sandbox.order(NODE, blocker), "running");
  // By the tasks themselves: the sandbox's list of them is 400 MB long.
  const done = host.write("done", "");
  chmodSync(done, 0o666);
  const growth = await growthDuring(agent.pid, async () => {
    for (let n = 0; n < HEAVY; n++) await sandbox.order(NODE, `echo >>${done}`, { environment: LOAD });
    await until("it claims no more", async () => {
      const { stdout } = await host.run(["status", "--json"]);
      return stdout.includes("holding as many tasks as it can");
    });
    await Bun.write(go, "");
    await until("all have run", () => statSync(done).size === HEAVY, minutes(15));
  });
  return [growth];
}

/** What a log row costs before it may leave: one durable commit. */
function commits(): number[] {
  using directory = temporaryDirectory();
  using database = openDatabase(`${directory.path}/state.db`, [outboxMigration]);
  const outbox = createOutbox(database);
  const row = { taskId: crypto.randomUUID(), stream: "stdout", line: "x".repeat(4_000), timestamp: "" };
  return Array.from({ length: 200 }, () => {
    const begun = performance.now();
    outbox.push(row.taskId, "log", row);
    return performance.now() - begun;
  });
}

export default [
  {
    name: "idle agent, resident memory",
    unit: "MB",
    limit: 50,
    run: async () => (await idle()).memory.map(({ resident }) => resident),
  },
  {
    name: "idle agent, anonymous part",
    unit: "MB",
    limit: 12,
    run: async () => (await idle()).memory.map(({ anonymous }) => anonymous),
  },
  { name: "idle agent, processor", unit: "% of a core", limit: 0.5, run: async () => (await idle()).busy },
  { name: "claim answered → command runs", unit: "ms", limit: 20, run: claimToStart },
  {
    name: "task created → command runs, by long polls",
    unit: "ms",
    run: () => createdToStart(false),
  },
  {
    name: "task created → command runs, announced by task.dispatch",
    unit: "ms",
    limit: 100,
    run: () => createdToStart(true),
  },
  {
    name: `task of ${LINES / 1e6} million lines`,
    unit: "lines/s",
    limit: 100_000,
    better: "more",
    run: async () => (await flood()).rates,
  },
  {
    name: "growth of the agent meanwhile",
    unit: "MB",
    limit: 32,
    run: async () => (await flood()).growth,
  },
  { name: "200 tasks at once", unit: "s", run: twoHundred },
  {
    name: `growth by ${HEAVY} tasks of 1 MB each, held by a busy agent`,
    unit: "MB",
    // 16 MB of payloads are in the journal, 8 MB with the tasks that start. The rest is garbage of the claims, of which
    // JavaScriptCore collects nothing before some 64 MB.
    limit: 150,
    run: heavyPayloads,
  },
  { name: "durable commit of a log row", unit: "ms", run: () => Promise.resolve(commits()) },
] satisfies Bench[];
