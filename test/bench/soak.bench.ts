// Whether the agent's memory stays level: a task a second, terminals and reconnects, for half an hour (`--minutes N`).
import { minutes, seconds } from "../../src/lib/duration.ts";
import { type Operator, enrolled, machine, startSandbox, until } from "../support/dev.ts";
import { descriptorsOf } from "../support/processes.ts";
import type { Bench, BenchOptions } from "./bench.ts";
import { type Memory, coldCopy, memoryOf } from "./process-figures.ts";

const NODE = "bench-1";
const PATIENCE = minutes(2);
/** Between the end of the work and the last figure: the agent gives memory back when it has rested for some time. */
const REST = minutes(1);
/** What the agent needs until everything was used once. */
const WARM_UP_SHARE = 1 / 3;

interface Soak {
  /** At the end of each minute. */
  readonly samples: readonly Memory[];
  readonly rest: Memory;
  /** Descriptors left after the work. */
  readonly descriptors: number;
}

let result: Promise<Soak> | undefined;
/** One for all figures. */
const soaked = ({ minutes: length }: BenchOptions): Promise<Soak> => (result ??= soak(length));

async function soak(length: number): Promise<Soak> {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, NODE);
  await using agent = host.start(["run"], { file: await coldCopy(host.at("noderax-agent")) });
  await agent.line(/"session".*"online"/);
  const descriptors = descriptorsOf(agent.pid);
  const samples: Memory[] = [];
  const work = new Set<Promise<void>>();
  for (let second = 1; second <= length * 60; second++) {
    for (const start of workOf(second)) {
      const done = start(sandbox);
      work.add(done);
      // One that failed stays, and is what the soak ends with.
      done.then(
        () => work.delete(done),
        () => {},
      );
    }
    await Bun.sleep(seconds(1));
    if (second % 60 === 0) samples.push(show(second / 60, agent.pid));
  }
  await Promise.all(work);
  await Bun.sleep(REST);
  return {
    samples,
    rest: show("at rest", agent.pid),
    descriptors: descriptorsOf(agent.pid) - descriptors,
  };
}

/** What begins in this second. */
function* workOf(second: number): Generator<(sandbox: Operator) => Promise<void>> {
  yield runTask;
  if (second % 5 === 2) yield useTerminal;
  if (second % 10 === 8)
    yield async (sandbox) => void (await sandbox.call("POST", "/sockets/disconnect", {}));
}

async function runTask(sandbox: Operator): Promise<void> {
  const id = await sandbox.order(NODE, "seq 20");
  await until(`task ${id} ends`, async () => (await sandbox.task(id)).status === "success", PATIENCE);
}

/** Opens a terminal and leaves it by `exit`. One that a reconnect came between is none. */
async function useTerminal(sandbox: Operator): Promise<void> {
  const { id } = (await sandbox.call("POST", "/terminals", { node: NODE })) as { id: string };
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

function show(when: number | string, pid: number): Memory {
  const memory = memoryOf(pid);
  const [resident, anonymous] = [memory.resident.toFixed(1), memory.anonymous.toFixed(1)];
  const label = typeof when === "number" ? `minute ${when}` : when;
  process.stderr.write(`  ${label}: ${resident} MB resident, ${anonymous} MB anonymous\n`);
  return memory;
}

/** Minutes. The agent gives memory back about as often: only the least of each such time is compared. */
const WINDOW = 5;

/** What the least of each window grows by in half an hour, by the line that lies closest to all of them. */
function growth(samples: readonly number[]): number {
  const least = Array.from({ length: Math.floor(samples.length / WINDOW) }, (_, n) =>
    Math.min(...samples.slice(n * WINDOW, (n + 1) * WINDOW)),
  );
  if (least.length < 2) throw new Error("needs two windows of five minutes: --minutes 15 or more");
  const middle = (least.length - 1) / 2;
  const mean = least.reduce((sum, value) => sum + value, 0) / least.length;
  const spread = least.reduce((sum, _, n) => sum + (n - middle) ** 2, 0);
  const slope = least.reduce((sum, value, n) => sum + (n - middle) * (value - mean), 0) / spread;
  return slope * (30 / WINDOW);
}

const warm = (samples: readonly Memory[]): readonly Memory[] =>
  samples.slice(Math.floor(samples.length * WARM_UP_SHARE));

export default [
  {
    name: "soak: anonymous memory",
    unit: "MB",
    long: true,
    limit: 30,
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
    limit: 6,
    run: async (options) => [growth(warm((await soaked(options)).samples).map(({ anonymous }) => anonymous))],
  },
  {
    name: "soak: resident memory at rest after it",
    unit: "MB",
    long: true,
    limit: 60,
    run: async (options) => [(await soaked(options)).rest.resident],
  },
  {
    name: "soak: descriptors left by it",
    unit: "",
    long: true,
    limit: 0,
    run: async (options) => [(await soaked(options)).descriptors],
  },
] satisfies Bench[];
