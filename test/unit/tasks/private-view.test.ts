// A command in a PID namespace of its own: what it sees, what it may, and how it is found and ended.
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { milliseconds } from "../../../src/lib/duration.ts";
import { currentAccount, runnerFor, isRoot } from "../../../src/platform/account.ts";
import { whyNoPrivateView } from "../../../src/platform/isolation.ts";
import { identify, processName, terminate } from "../../../src/platform/processes.ts";
import { until } from "../../support/until.ts";
import { type Started, commandRuns, other, textIn } from "./command-runs.ts";

const { start, finish } = commandRuns();

const noPrivateView = isRoot() ? await whyNoPrivateView() : "root";
describe.skipIf(other === undefined || noPrivateView !== undefined)(
  `a command with a private view${noPrivateView === undefined ? "" : ` (needs ${noPrivateView})`}`,
  () => {
    const confined = { runner: runnerFor(other ?? currentAccount(), false), view: "private" } as const;
    const initOf = ({ directory }: Started): number =>
      Number.parseInt(textIn(join(directory, "session")).split("\n")[1] ?? "", 10);
    const isGone = (pid: number): boolean => identify(pid) === undefined;

    test("neither sees nor reaches another of the same user: environment, output, signals, ptrace", async () => {
      const victim = await start("echo ready; exec sleep 300", {
        ...confined,
        environment: { SECRET: "hunter2" },
      });
      await until("the victim", () => victim.stdout() === "ready\n");
      const [pid = 0] = victim.run.members().filter((one) => processName(one) === "sleep");
      const attempts = [
        `cat /proc/${pid}/environ`,
        `echo intruder >/proc/${pid}/fd/1`,
        `kill -9 ${pid}`,
        "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -o hunter2",
        "kill -9 -1",
      ];
      const attacker = await finish(`{ ${attempts.join("; ")}; } 2>/dev/null; echo done`, confined);
      expect(attacker.stdout()).toBe("done\n");
      expect(victim.stdout()).toBe("ready\n");
      expect(processName(pid)).toBe("sleep");
    });

    test("has terminals of its own, and no path to those of others", async () => {
      expect((await finish("ls /dev/pts", confined)).stdout()).toBe("ptmx\n");
    });

    test("ends with what it ended with, sees its own processes, and /tmp with everybody", async () => {
      const it = await finish("ps -e -o comm= 2>/dev/null | grep -c . ; ls -d /tmp; kill -TERM $$", confined);
      expect(it.code).toBe(143);
      expect(it.stdout()).toEndWith("/tmp\n");
    });

    test("has no capability to gain, and gains none from set-uid programs", async () => {
      const { stdout } = await finish("grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status", confined);
      expect(stdout()).toBe("CapBnd:\t0000000000000000\nNoNewPrivs:\t1\n");
    });

    test("is known by its namespace: a daemon without session and environment is a member, and is ended", async () => {
      const it = await start(
        "(env -i /usr/bin/setsid /bin/sh -c 'trap \"\" TERM; while :; do sleep 0.2; done' &); echo ready; exec sleep 300",
        confined,
      );
      await until("the command", () => it.stdout() === "ready\n");
      await until("the daemon", () => it.run.members().some((pid) => processName(pid) === "sh"));
      const members = it.run.members();
      expect(members).not.toContain(initOf(it));
      expect(await terminate(() => it.run.members(), milliseconds(300))).toBeTrue();
      expect(members.filter((pid) => !isGone(pid))).toEqual([]);
      await until("the end of the namespace", () => isGone(initOf(it)));
    });

    test("leaves in the background what it left there on purpose, for as long as that lives", async () => {
      const it = await finish("setsid tail -f /dev/null >/dev/null 2>&1 & sleep 0.2", confined);
      await until("the end of the wrapper", () => it.run.wrapperAlive() === false);
      expect(it.run.members().map(processName)).toContain("tail");
      expect(await terminate(() => it.run.members(), milliseconds(100))).toBeTrue();
      await until("the end of the namespace", () => isGone(initOf(it)));
    });

    test("that left nothing takes its namespace with it", async () => {
      const it = await finish("true", confined);
      await until("the end of the namespace", () => isGone(initOf(it)));
      expect(it.run.members()).toEqual([]);
    });

    test("is found, and ended, when its wrapper was killed", async () => {
      const it = await start("echo ready; sleep 300 & exec sleep 300", confined);
      await until("the command", () => it.stdout() === "ready\n");
      process.kill(Number.parseInt(textIn(join(it.directory, "session")), 10), "SIGKILL");
      await until("the death of the wrapper", () => it.run.wrapperAlive() === false);
      expect(it.run.members().filter((pid) => processName(pid) === "sleep").length).toBeGreaterThan(1);
      expect(await terminate(() => it.run.members(), milliseconds(100))).toBeTrue();
      await until("the end of the namespace", () => isGone(initOf(it)));
    });
  },
);
