// The limits of a task: what is asked of systemd and of a shell, and which limit the kernel says was hit.
import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MIB } from "../../../src/lib/size.ts";
import { isRoot } from "../../../src/platform/account.ts";
import {
  COUNT_HITS,
  type TaskLimits,
  limitHit,
  shellLimits,
  unitLimits,
} from "../../../src/platform/task-limits.ts";
import { until } from "../../support/until.ts";

const limits: TaskLimits = {
  memory: 64 * MIB,
  cpuPercent: undefined,
  processes: 40,
  nice: 0,
  ioWeight: 100,
};

test("a unit gets the limits that are set, and none that is usual anyway", () => {
  expect(unitLimits(limits)).toEqual(["TasksMax=40", "MemoryMax=67108864", "MemorySwapMax=0"]);
  expect(unitLimits({ ...limits, cpuPercent: 150, nice: 5, ioWeight: 10 }).slice(3)).toEqual([
    "CPUQuota=150%",
    "Nice=5",
    "IOWeight=10",
  ]);
});

const sh = (script: string): { code: number; output: string } => {
  const child = Bun.spawnSync(["/bin/sh", "-c", script], { stdin: "ignore", stderr: "pipe" });
  return { code: child.exitCode, output: child.stdout.toString() + child.stderr.toString() };
};

test("a process that wants more memory than its limit gets none, and one below it works", () => {
  const limited = (command: string) => sh([...shellLimits(limits), command].join("\n"));
  expect(limited("tail /dev/zero").output).toContain("memory exhausted");
  expect(limited("head -c 1000000 /dev/zero | tail | wc -c").output.trim()).toBe("1000000");
});

test("the niceness of a shell is that of the limits", () => {
  const nice = (): string => sh([...shellLimits({ ...limits, nice: 7 }), "nice"].join("\n")).output.trim();
  expect(Number(nice()) - Number(sh("nice").output)).toBe(7);
});

test.each([
  ["low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\nmax 0\n", undefined],
  ["low 0\nhigh 0\nmax 8\noom 1\noom_kill 0\nmax 0\n", undefined],
  ["low 0\nhigh 0\nmax 8\noom 1\noom_kill 2\nmax 0\n", "killed: memory limit 64MiB (task_memory_max)"],
  ["low 0\nhigh 0\nmax 8\noom 1\noom_kill 0\nmax 3\n", "process limit 40 reached (task_pids_max)"],
  ["low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\nmax 0\n", "killed: the machine ran out of memory"],
  [
    "oom_kill_disable 0\nunder_oom 0\noom_kill 1\nfailcnt 9\n",
    "killed: memory limit 64MiB (task_memory_max)",
  ],
  ["oom_kill_disable 0\nunder_oom 0\noom_kill 1\nfailcnt 0\n", "killed: the machine ran out of memory"],
  ["", undefined],
])("%j says %p", (counts, words) => {
  expect(limitHit(counts, limits)).toBe(words as string);
});

const groups: string[] = [];
afterEach(async () => {
  // A group is busy until the kernel has forgotten the last of its processes.
  for (const group of groups.splice(0))
    await until(`${group} is removed`, () => {
      try {
        rmdirSync(group);
      } catch {
        return !existsSync(group);
      }
      return true;
    });
});

/** Runs a command in a control group with one limit, and then what counts its hits. */
function inGroup(controller: string, file: string, limit: number, command: string): string | undefined {
  const group = join("/sys/fs/cgroup", controller, `noderax-test-${process.pid}`);
  mkdirSync(group);
  groups.push(group);
  writeFileSync(join(group, file), String(limit));
  const { output } = sh(
    `echo $$ >${group}/cgroup.procs; ( ${command} ) >/dev/null 2>&1; ${COUNT_HITS}\nhits`,
  );
  return limitHit(output, limits);
}

const hasGroups = isRoot() && existsSync("/sys/fs/cgroup/pids") && existsSync("/sys/fs/cgroup/memory");

test.skipIf(!hasGroups)(
  "the kernel's own counts name the limit that a memory hog or a fork bomb hits (needs root and cgroups of version 1)",
  () => {
    expect(inGroup("memory", "memory.limit_in_bytes", 32 * MIB, "exec tail /dev/zero")).toBe(
      "killed: memory limit 64MiB (task_memory_max)",
    );
    const bomb = "n=0; while [ $n -lt 40 ]; do sleep 1 & n=$((n + 1)); done";
    expect(inGroup("pids", "pids.max", 20, bomb)).toBe("process limit 40 reached (task_pids_max)");
  },
);

test.skipIf(!hasGroups)(
  "a command that stays within its limits hits none (needs root and cgroups of version 1)",
  () => {
    expect(inGroup("memory", "memory.limit_in_bytes", 32 * MIB, "true")).toBeUndefined();
    expect(inGroup("pids", "pids.max", 20, "sleep 0 & wait")).toBeUndefined();
  },
);
