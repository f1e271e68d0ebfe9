// What an update costs: bytes, the time without an agent, and the way back from a version that does not work.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makePatch } from "../../.ci/release/patch.ts";
import { AGENT, type Machine, missing } from "../support/systemd.ts";
import { UpdateWorld, impostor } from "../support/update-world.ts";
import type { Bench } from "./bench.ts";

async function inWorld(
  measure: (world: UpdateWorld, machine: Machine) => Promise<number[]>,
): Promise<number[]> {
  if (missing !== undefined) throw new Error(`needs ${missing}`);
  await using world = new UpdateWorld();
  // Awaited here: the machine goes with the world.
  return await measure(world, await world.boot());
}

/** As many as a week of work. */
const COMMITS = 50;

/** Builds the tree of a commit with the packages that are here. */
function buildOf(commit: string): Buffer {
  const directory = mkdtempSync(join(tmpdir(), "noderax-build-"));
  const root = join(import.meta.dir, "../..");
  const script = `git archive ${commit} | tar -x -C ${directory} && ln -s ${root}/node_modules ${directory}/node_modules && cd ${directory} && node_modules/.bin/bun .ci/build.ts`;
  try {
    const { success, stderr } = Bun.spawnSync(["sh", "-c", script], { cwd: root, stdin: "ignore" });
    if (!success) throw new Error(stderr.toString());
    return readFileSync(join(directory, "dist/noderax-agent"));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Lines of the agent's journal with this event, as milliseconds since the boot. */
async function timesOf(machine: Machine, event: string): Promise<number[]> {
  const rows = await machine.sh("journalctl --unit=noderax-agent --output=json --no-pager");
  return rows
    .split("\n")
    .map((row) => JSON.parse(row) as { MESSAGE?: unknown; __MONOTONIC_TIMESTAMP: string })
    .filter(({ MESSAGE }) => typeof MESSAGE === "string" && MESSAGE.includes(event))
    .map((row) => Number(row.__MONOTONIC_TIMESTAMP) / 1_000);
}

/** From the stop of the old process until the session of the new one is online. */
async function away(machine: Machine): Promise<number> {
  const stopped = (await timesOf(machine, "stopping; running tasks")).at(-1) ?? Number.NaN;
  const online = (await timesOf(machine, '"event":"online"')).at(-1) ?? Number.NaN;
  return online - stopped;
}

/** From the restart to the new version until the old one is online again. */
async function backFrom(run: string): Promise<number[]> {
  return inWorld(async (world, machine) => {
    await world.release("0.3.0", impostor("0.3.0", run));
    await machine.sh("noderax-agent update --version 0.3.0 >/dev/null 2>&1 || true");
    await machine.until(`${AGENT} status --json | grep -q '"version": "0.1.0"'`);
    return [(await away(machine)) / 1_000];
  });
}

const benches: readonly Bench[] = [
  {
    name: `bytes of an update over ${COMMITS} commits, by patch`,
    unit: "MB",
    limit: 2,
    run: async () => [makePatch(buildOf(`HEAD~${COMMITS}`), buildOf("HEAD")).length / 1e6],
  },
  {
    name: "update: stop of the old version until the new one is online",
    unit: "ms",
    limit: 2_000,
    run: () =>
      inWorld(async (_, machine) => {
        const samples: number[] = [];
        for (const flags of ["", "--rollback", "--rollback"]) {
          await machine.sh(`noderax-agent update ${flags}`);
          samples.push(await away(machine));
        }
        return samples;
      }),
  },
  { name: "way back from a version that exits at once", unit: "s", limit: 30, run: () => backFrom("exit 1") },
  {
    name: "way back from a version that hangs",
    unit: "s",
    limit: 90,
    run: () => backFrom("exec sleep 1000"),
  },
];
export default benches;
