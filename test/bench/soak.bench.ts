// Whether the agent's memory stays level on both control planes: a task a second, terminals, reconnects, containers that
// die and projects that come and go, for half an hour (`--minutes N`).
import { milliseconds, minutes, seconds } from "../../src/lib/duration.ts";
import { containerName } from "../../src/projects/plan/names.ts";
import { type Operator, enrolled, until } from "../support/dev.ts";
import { docker } from "../support/docker.ts";
import { descriptorsOf } from "../support/processes.ts";
import { elapse } from "../support/until.ts";
import type { Bench, BenchOptions } from "./bench.ts";
import { type Memory, coldCopy, memoryOf } from "./process-figures.ts";
import { type World, bothPlanes, project, unmet, untilReady, untilRunning, world } from "./world.ts";

const NODE = "bench-1";
const PATIENCE = minutes(2);
/** Minutes of work between two rests. */
const WINDOW = 5;
/** The agent gives memory back at the first or second check of a rest, which come every ten seconds. */
const REST = seconds(40);
/** What the agent needs until everything was used once. */
const WARM_UP_SHARE = 1 / 3;

/** Of the project that stays. One of them is killed every half minute, and so each about four times in ten minutes. */
const SERVICES = ["a", "b", "c", "d", "e"];

interface Soak {
  /** At the end of each second of work. */
  readonly samples: readonly Memory[];
  /** The least of each rest: what is held when all was given back. */
  readonly rests: readonly Memory[];
  /** Descriptors left after the work. */
  readonly descriptors: number;
}

let result: Promise<Soak> | undefined;
/** One for all figures. */
const soaked = ({ minutes: length }: BenchOptions): Promise<Soak> => (result ??= soak(length));

async function soak(length: number): Promise<Soak> {
  await using here = await world();
  const { host, sandbox, image, name } = here;
  await enrolled(host, sandbox, NODE);
  const file = await coldCopy(host.at("noderax-agent"));
  await using agent = host.start(["run"], { file, env: bothPlanes(NODE, sandbox) });
  await agent.line(/"session".*"online"/);
  await untilReady(sandbox);
  await sandbox.call("PUT", "/cara/projects", project(name(0), image, SERVICES));
  await untilRunning(sandbox, name(0));
  const descriptors = descriptorsOf(agent.pid);
  const samples: Memory[] = [];
  const rests: Memory[] = [];
  for (let from = 1; from <= length * 60; from += WINDOW * 60) {
    const work = await startWork(here, from, () => samples.push(memoryOf(agent.pid)));
    show(`minute ${Math.floor(samples.length / 60)}`, least(samples.slice(-60)));
    await Promise.all(work);
    await untilRunning(sandbox, name(0), PATIENCE);
    rests.push(await restOf(agent.pid));
    show("at rest", rests.at(-1) as Memory);
  }
  return { samples, rests, descriptors: descriptorsOf(agent.pid) - descriptors };
}

/** Starts the work of so many minutes, and calls `each` every second. Resolves with what has not ended or has failed. */
async function startWork(here: World, from: number, each: () => void): Promise<Set<Promise<void>>> {
  const work = new Set<Promise<void>>();
  for (let second = from; second < from + WINDOW * 60; second++) {
    for (const start of workOf(second)) {
      const done = start(here);
      work.add(done);
      done.then(
        () => work.delete(done),
        () => {},
      );
    }
    await elapse(seconds(1));
    each();
  }
  return work;
}

async function restOf(pid: number): Promise<Memory> {
  const samples: Memory[] = [];
  for (const end = performance.now() + REST; performance.now() < end; await elapse(milliseconds(200)))
    samples.push(memoryOf(pid));
  return least(samples);
}

/** What begins in this second. */
function* workOf(second: number): Generator<(here: World) => Promise<void>> {
  yield ({ sandbox }) => runTask(sandbox);
  if (second % 5 === 2) yield ({ sandbox }) => useTerminal(sandbox);
  if (second % 10 === 8)
    yield async ({ sandbox }) => void (await sandbox.call("POST", "/sockets/disconnect", {}));
  if (second % 30 === 14)
    yield async ({ name }) =>
      void (await docker("kill", containerName(name(0), SERVICES[Math.floor(second / 30) % 5] ?? "")));
  if (second % 60 === 24) yield (here) => useProject(here, second);
}

async function runTask(sandbox: Operator): Promise<void> {
  const id = await sandbox.order(NODE, "seq 20");
  await until(`task ${id} ends`, async () => (await sandbox.task(id)).status === "success", PATIENCE);
}

/** Opens a terminal and leaves it by `exit`. One that a reconnect came between is none. */
async function useTerminal(sandbox: Operator): Promise<void> {
  // Refused while the node is offline: on a busy machine the session after a reconnect takes seconds.
  const { id } = await until("a terminal is accepted", () => startTerminal(sandbox), PATIENCE);
  const becomes = (...states: string[]): Promise<string> =>
    until(
      `terminal ${id} is ${states.join(" or ")}`,
      async () => {
        const { status } = (await sandbox.call("GET", `/terminals/${id}`)) as { status: string };
        return states.includes(status) ? status : undefined;
      },
      PATIENCE,
    );
  if ((await becomes("open", "closed", "failed")) !== "open") return;
  await sandbox.call("POST", `/terminals/${id}/input`, { text: "seq 100; exit\n" });
  await becomes("closed", "failed");
}

async function startTerminal(sandbox: Operator): Promise<{ id: string } | undefined> {
  try {
    return (await sandbox.call("POST", "/terminals", { node: NODE })) as { id: string };
  } catch (error) {
    if (String(error).includes("is offline")) return undefined;
    throw error;
  }
}

/** Brings a project up and deletes it. */
async function useProject({ sandbox, image, name }: World, n: number): Promise<void> {
  await sandbox.call("PUT", "/cara/projects", project(name(n), image));
  await untilRunning(sandbox, name(n), PATIENCE);
  await sandbox.call("DELETE", `/cara/projects/${name(n)}`);
  await until(
    `project ${name(n)} is deleted`,
    async () => (await docker("ps", "--all", "--quiet", "--filter", `name=${name(n)}-`)) === "",
    PATIENCE,
  );
}

function show(when: string, { resident, anonymous }: Memory): void {
  const text = `${resident.toFixed(1)} MB resident, ${anonymous.toFixed(1)} MB anonymous`;
  process.stderr.write(`  ${when}: ${text}\n`);
}

const least = (samples: readonly Memory[]): Memory => ({
  resident: Math.min(...samples.map(({ resident }) => resident)),
  anonymous: Math.min(...samples.map(({ anonymous }) => anonymous)),
});

/**
 * Growth in half an hour: the median of the slopes between any two rests (Theil–Sen). Between them the memory moves by
 * 20 MB, as the code of the work is compiled again and garbage waits for its collection.
 */
function growth(rests: readonly number[]): number {
  if (rests.length < 3) throw new Error("needs three rests after the warm-up: --minutes 20 or more");
  const slopes = rests.flatMap((from, n) =>
    rests.slice(n + 1).map((to, further) => (to - from) / (further + 1)),
  );
  slopes.sort((a, b) => a - b);
  const middle = (slopes.length - 1) / 2;
  const median = ((slopes[Math.floor(middle)] ?? 0) + (slopes[Math.ceil(middle)] ?? 0)) / 2;
  return median * (30 / WINDOW);
}

const warm = (samples: readonly Memory[]): readonly Memory[] =>
  samples.slice(Math.floor(samples.length * WARM_UP_SHARE));

if (unmet !== undefined) console.warn(`the soak is skipped: this machine lacks ${unmet}`);

export default (unmet !== undefined
  ? []
  : [
      {
        name: "soak: anonymous memory",
        unit: "MB",
        long: true,
        // What is held, some 20 MB at rest, and up to 25 MB of garbage and compiled code that the work makes between two
        // givings back (platform/reclaim.ts).
        limit: 50,
        run: async (options) => warm((await soaked(options)).samples).map(({ anonymous }) => anonymous),
      },
      {
        name: "soak: resident memory",
        unit: "MB",
        long: true,
        run: async (options) => warm((await soaked(options)).samples).map(({ resident }) => resident),
      },
      {
        name: "soak: growth of anonymous memory over half an hour, by its slope",
        unit: "MB",
        long: true,
        limit: 3,
        run: async (options) => [
          growth(warm((await soaked(options)).rests).map(({ anonymous }) => anonymous)),
        ],
      },
      {
        name: "soak: resident memory at rest after it",
        unit: "MB",
        long: true,
        limit: 60,
        run: async (options) => (await soaked(options)).rests.slice(-1).map(({ resident }) => resident),
      },
      {
        name: "soak: descriptors left by it",
        unit: "",
        long: true,
        limit: 0,
        run: async (options) => [(await soaked(options)).descriptors],
      },
    ]) satisfies Bench[];
