// What the layout of the bytecode and a later JIT are worth: an idle agent of both planes, its start, hard work. Builds in turn.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { recordProfile } from "../../.ci/release/profile.ts";
import { seconds } from "../../src/lib/duration.ts";
import { runBinary } from "../support/binary.ts";
import { enrolled, machine, startSandbox, until } from "../support/dev.ts";
import { elapse } from "../support/until.ts";
import type { Bench } from "./bench.ts";
import { busyTimeOf, coldCopy, memoryOf, once } from "./process-figures.ts";
import { bothPlanes, unmet, untilReady, world } from "./world.ts";

const IDLE_FOR = seconds(15);
const BUILDS = {
  "as it comes": ["--jit-policy=1"],
  "as it comes, JIT × 4": ["--jit-policy=4"],
  "laid out by use": ["--bytecode-order", "--jit-policy=1"],
  "laid out, JIT × 4": ["--bytecode-order", "--jit-policy=4"],
} as const;
type Build = keyof typeof BUILDS;
const builds = Object.keys(BUILDS) as Build[];

const root = join(import.meta.dir, "../..");

/** The executables. */
const files = once(async () => {
  const directory = join(root, "dist/bench");
  mkdirSync(directory, { recursive: true });
  const profile = join(directory, "profile");
  await recordProfile(profile, process.env["DOCKER_HOST"]);
  const made = new Map<Build, string>();
  for (const [n, build] of builds.entries()) {
    const flags = BUILDS[build].flatMap((flag) => (flag === "--bytecode-order" ? [flag, profile] : [flag]));
    const out = join(directory, `${n}`, "noderax-agent");
    const run = Bun.spawnSync([process.execPath, ".ci/build.ts", "--out", out, ...flags], { cwd: root });
    if (!run.success) throw new Error(run.stderr.toString());
    made.set(build, out);
  }
  return made;
});

const idle = once(async () => {
  if (unmet !== undefined) throw new Error(`needs ${unmet}`);
  const memory = new Map<Build, { resident: number; anonymous: number }[]>();
  for (let repetition = 0; repetition < 8; repetition++) {
    await using here = await world();
    await using stack = new AsyncDisposableStack();
    const pids = new Map<Build, number>();
    // What the page cache holds of a file, and how, stays as it came about: a new copy for each agent, and no fixed order.
    const all = [...(await files())];
    for (const [build, built] of [
      ...all.slice(repetition % all.length),
      ...all.slice(0, repetition % all.length),
    ]) {
      const host = stack.use(machine());
      const file = await coldCopy(host.at("noderax-agent"), built);
      const node = `layout-${pids.size}`;
      await enrolled(host, here.sandbox, node);
      pids.set(build, stack.use(host.start(["run"], { file, env: bothPlanes(node, here.sandbox) })).pid);
    }
    await untilReady(here.sandbox);
    await until("all are online", async () => {
      const nodes = (await here.sandbox.call("GET", "/nodes")) as { status: string }[];
      return nodes.filter(({ status }) => status === "online").length === builds.length;
    });
    await elapse(IDLE_FOR);
    for (const [build, pid] of pids) memory.set(build, [...(memory.get(build) ?? []), memoryOf(pid)]);
  }
  return memory;
});

const starts = once(async () => {
  const samples = new Map<Build, number[]>();
  // The first start reads the file into the page cache and is not counted.
  for (let repetition = -1; repetition < 30; repetition++)
    for (const [build, file] of await files()) {
      const started = performance.now();
      await runBinary(["--version"], { file });
      if (repetition >= 0) samples.set(build, [...(samples.get(build) ?? []), performance.now() - started]);
    }
  return samples;
});

const LINES = 500_000;
const FLOOD = `seq -f 'line %.0f of some longer text, as a compiler or a package manager prints it' ${LINES}`;

/** Processor time of an agent for a task with much output: what a later JIT makes slower. */
const work = once(async () => {
  const samples = new Map<Build, number[]>();
  for (let repetition = 0; repetition < 3; repetition++)
    for (const [build, file] of await files()) {
      using host = machine();
      await using sandbox = await startSandbox(host);
      await enrolled(host, sandbox, "layout");
      await using agent = host.start(["run"], { file });
      await sandbox.sees(await sandbox.order("layout", "true"), "success");
      const before = busyTimeOf(agent.pid);
      await sandbox.sees(await sandbox.order("layout", FLOOD), "success");
      samples.set(build, [...(samples.get(build) ?? []), busyTimeOf(agent.pid) - before]);
    }
  return samples;
});

export default builds.flatMap((build): Bench[] => [
  {
    long: true,
    name: `idle agent of both planes, ${build}, resident memory`,
    unit: "MB",
    run: async () => (await idle()).get(build)?.map(({ resident }) => resident) ?? [],
  },
  {
    long: true,
    name: `idle agent of both planes, ${build}, anonymous part`,
    unit: "MB",
    run: async () => (await idle()).get(build)?.map(({ anonymous }) => anonymous) ?? [],
  },
  {
    long: true,
    name: `processor time for ${LINES} lines of output, ${build}`,
    unit: "ms",
    run: async () => (await work()).get(build) ?? [],
  },
  { long: true, name: `--version, ${build}`, unit: "ms", run: async () => (await starts()).get(build) ?? [] },
]);
