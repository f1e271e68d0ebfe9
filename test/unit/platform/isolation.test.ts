// What a confined command gets of the machine: its limits, its terminals, and no more processes than are good for others.
import { expect, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { isRoot } from "../../../src/platform/account.ts";
import {
  confined,
  namespaceBoundsProcesses,
  originalOpenFiles,
  parseOpenFiles,
  ptsOptions,
  supervised,
  whyNoPrivateView,
} from "../../../src/platform/isolation.ts";

test.each([
  ["6.1.0-30-amd64", false],
  ["6.13.12", false],
  ["6.14.0-37-generic", true],
  ["7.0", true],
  ["5.15.0-microsoft-standard-WSL2", false],
  ["", false],
])("kernel %j bounds the processes of a namespace: %p", (kernel, bounds) => {
  expect(namespaceBoundsProcesses(kernel)).toBe(bounds);
});

test.each([
  ["Max open files            1024                 524288               files     \n", 1_024, 524_288],
  ["Max open files            512                  unlimited            files     \n", 512, Infinity],
])("the limits of open files are read from %j", (text, soft, hard) => {
  expect(parseOpenFiles(`Max processes  1 1 processes\n${text}`)).toEqual({ soft, hard });
});

test("limits that cannot be read are none", () => {
  expect(parseOpenFiles("")).toBeUndefined();
});

test("children get a soft limit of open files that select(2) can live with, not the one the runtime raised", () => {
  const hard = Number(Bun.spawnSync(["/bin/sh", "-c", "ulimit -Hn"]).stdout.toString());
  const limit = originalOpenFiles() ?? NaN;
  expect(limit).toBeGreaterThan(0);
  expect(limit <= 1_024 || limit < hard).toBe(true);
});

test.each([
  [
    "devpts /dev/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=000 0 0\n",
    "nosuid,noexec,newinstance,ptmxmode=0666,gid=5,mode=620",
  ],
  ["none /dev/pts devpts rw,mode=600 0 0\n", "nosuid,noexec,newinstance,ptmxmode=0666,mode=600"],
  ["tmpfs /dev tmpfs rw 0 0\n", undefined],
])("with the mounts %j, terminals of one's own are mounted with %p", (mounts, options) => {
  expect(ptsOptions(`proc /proc proc rw 0 0\n${mounts}`)).toBe(options);
});

const unable = isRoot() ? await whyNoPrivateView() : "root";

test.skipIf(unable !== undefined || !namespaceBoundsProcesses())(
  "a fork bomb in a private view cannot fork any more, while others can (needs root, Linux 6.14)",
  () => {
    const bomb = "while :; do sleep 100 & done 2>&1; echo not reached";
    const command = confined({ view: "private", openFiles: undefined, onTerminal: false, processesMax: 60 }, [
      "/bin/sh",
      "-c",
      bomb,
    ]);
    const before = Bun.spawnSync(["cat", "/proc/sys/kernel/pid_max"]).stdout.toString();
    // The bomb is the first process of its namespace: everything in it ends with it.
    const { stdout } = Bun.spawnSync(
      supervised("private", ["/bin/sh", "-c", '( exec "$@" )', "sh", ...command]),
      {
        timeout: seconds(15),
      },
    );
    expect(stdout.toString()).toMatch(/fork/i);
    expect(stdout.toString()).not.toContain("not reached");
    expect(Bun.spawnSync(["cat", "/proc/sys/kernel/pid_max"]).stdout.toString()).toBe(before);
  },
);
