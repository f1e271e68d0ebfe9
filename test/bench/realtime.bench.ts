// How soon the realtime session is online, and what it keeps of sessions that are gone.
import { join } from "node:path";
import { milliseconds, minutes, seconds } from "../../src/lib/duration.ts";
import { enrolled, machine, startSandbox, until } from "../support/dev.ts";
import type { Bench } from "./bench.ts";
import { plane, startAgent } from "./plane.ts";
import { descriptorsOf } from "../support/processes.ts";
import { once, settledMemory } from "./process-figures.ts";
import { elapse } from "../support/until.ts";

const NODE = "bench-1";

/** From the spawn of the process to the node being online, by a look at the sandbox every few milliseconds. */
async function startToOnline(): Promise<number[]> {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, NODE);
  const samples: number[] = [];
  // The first start reads the file into the page cache and is not counted.
  for (let repetition = -1; repetition < 15; repetition++) {
    // The enrollment has left it online; a session that has ended puts it offline at once.
    if (repetition >= 0) await becomes("offline");
    const begun = performance.now();
    await using agent = host.start(["run"]);
    await becomes("online");
    const took = performance.now() - begun;
    // It was the session, not a heartbeat.
    await agent.line(/"session".*"online"/);
    if (repetition >= 0) samples.push(took);
  }
  return samples;

  async function becomes(status: string): Promise<void> {
    for (const end = performance.now() + seconds(15); ; await elapse(milliseconds(3))) {
      const [node] = (await sandbox.call("GET", "/nodes")) as { status: string }[];
      if (node?.status === status) return;
      if (performance.now() > end) throw new Error(`the node does not become ${status}`);
    }
  }
}

const FLEET = 12;

/** Agents that were online long enough for it to count as good; then the server is gone for a while. */
async function backToOnline(outage: number): Promise<number[]> {
  await using world = new AsyncDisposableStack();
  const onlineAt = new Map<string, number>();
  const server = world.use(plane({ online: ({ nodeId }, at) => void onlineAt.set(nodeId, at) }));
  for (let n = 0; n < FLEET; n++) world.use(startAgent(world.use(machine()), server));
  await until("all are online", () => onlineAt.size === FLEET);
  await elapse(seconds(11));
  onlineAt.clear();
  server.goAway();
  await elapse(outage);
  const back = server.comeBack();
  await until("all are online again", () => onlineAt.size === FLEET, minutes(1));
  return [...onlineAt.values()].map((at) => at - back);
}

const WARM_UP = 500;
const RECONNECTS = 2_000;

/** The server cuts every session as soon as it is online. */
const reconnects = once(async () => {
  let count = 0;
  let cutting = WARM_UP;
  let cut: (() => void) | undefined;
  using server = plane({
    online(link) {
      // Not before the answer is out.
      cut = () => link.cut();
      if (count++ < cutting) setImmediate(cut);
    },
  });
  const script = join(import.meta.dir, "reconnecting.ts");
  const agent = Bun.spawn([process.execPath, "--no-env-file", script, server.url], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  try {
    await until("it is warm", () => count > cutting, minutes(1));
    const [memory, descriptors] = [await settledMemory(agent.pid, seconds(2)), descriptorsOf(agent.pid)];
    const begun = performance.now();
    cutting += RECONNECTS;
    cut?.();
    await until("it reconnects", () => count > cutting, minutes(1));
    const took = performance.now() - begun;
    return {
      growth: (await settledMemory(agent.pid, seconds(2))) - memory,
      descriptors: descriptorsOf(agent.pid) - descriptors,
      each: took / RECONNECTS,
    };
  } finally {
    agent.kill("SIGKILL");
    await agent.exited;
  }
});

export default [
  { name: "start → node online", unit: "ms", limit: 1_000, run: startToOnline },
  {
    name: "server back after 1 s → online",
    unit: "ms",
    limit: 1_000,
    run: () => backToOnline(seconds(1)),
  },
  { name: "server back after 10 s → online", unit: "ms", run: () => backToOnline(seconds(10)) },
  {
    name: `growth over ${RECONNECTS} reconnects`,
    unit: "MB",
    limit: 8,
    run: async () => [(await reconnects()).growth],
  },
  {
    name: "descriptors left by them",
    unit: "",
    limit: 0,
    run: async () => [(await reconnects()).descriptors],
  },
  { name: "reconnect, without its pause", unit: "ms", run: async () => [(await reconnects()).each] },
] satisfies Bench[];
