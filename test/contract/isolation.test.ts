// What tasks and terminals of one user can do to each other, with the settings as they are by default.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { whyNoPrivateView } from "../../src/platform/isolation.ts";
import { type AgentNode, NODE, TEST_LIMIT, asRoot, enrolledAgent } from "../support/agent.ts";
import { isAlive } from "../support/processes.ts";
import { scribble } from "../support/scribble.ts";
import { until } from "../support/until.ts";
import { opens } from "../support/terminal.ts";

setDefaultTimeout(TEST_LIMIT);

const missing = asRoot ? await whyNoPrivateView() : "root";
const isolated = (settings = {}): Promise<AgentNode> =>
  enrolledAgent({ settings: { task_isolation: "auto", ...settings } });

describe
  .skipIf(missing !== undefined)
  .concurrent(`beside others of the same user${missing === undefined ? "" : ` (needs ${missing})`}`, () => {
    test("a task reaches neither tasks nor terminals: no process, no environment, no screen, no signal", async () => {
      await using node = await isolated();
      using shell = await opens(node);
      const victim = node.runs("echo ready; read -r line; sleep 300", { environment: { SECRET: "hunter2" } });
      await victim.shows("ready");
      const tty = /pts\/\d+/.exec(await shell.runs("readlink /proc/self/fd/0"))?.[0] ?? "no tty";
      const attacker = node.runs(
        [
          "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c hunter2",
          `echo intruder >/dev/${tty}`,
          "for tty in /dev/pts/[0-9]*; do echo intruder >$tty; done",
          "kill -9 -1",
          "echo done",
        ].join("; "),
      );
      await attacker.finishes("success");
      expect(attacker.text("stdout")).toBe("0\ndone");
      expect(await shell.runs("echo alive")).toBe("alive");
      expect(shell.text()).not.toContain("intruder");
      expect(victim.document().status).toBe("running");
      victim.cancels();
      await victim.finishes("cancelled");
    });

    test("a terminal reaches no other terminal, and has its own by name", async () => {
      await using node = await isolated();
      using one = await opens(node);
      using other = await opens(node);
      expect(await one.runs("ls /dev/pts")).toBe("ptmx");
      expect(await one.runs('test -c "$(tty)" && test -w "$(tty)" && echo mine')).toBe("mine");
      expect(await one.runs("kill -9 -1; echo alive")).toBe("alive");
      expect(await other.runs("echo alive")).toBe("alive");
      expect(await other.runs("script -qc tty /dev/null")).toBe("/dev/pts/0");
    });

    test("a terminal has its size, job control, exit code, and what it leaves on purpose", async () => {
      await using node = await isolated();
      using shell = await opens(node, { cols: 97, rows: 41 });
      expect(await shell.runs("stty size")).toBe("41 97");
      shell.types("sleep 300\n");
      const argumentsOf = (pid: number): string => scribble(`/proc/${pid}/cmdline`).text() ?? "";
      await shell.waits("sleep runs", () =>
        shell.processes().some((pid) => argumentsOf(pid) === "sleep\u0000300\u0000"),
      );
      shell.types("\u001A");
      await shell.shows("Stopped");
      shell.forgets();
      shell.types("fg\n");
      await shell.shows("sleep 300");
      shell.types("\u0003");
      // The interrupt throws away what is typed before it is seen.
      await shell.shows("sleep 300\n\n");
      expect(await shell.runs("jobs")).toBe("");
      shell.types("nohup sleep 300 >/dev/null 2>&1 &\n");
      shell.types("exit 7\n");
      expect(await shell.ends()).toMatchObject({ exit_code: 7, closed_reason: null });
      expect(shell.processes().length).toBeGreaterThan(0);
    });

    test("a terminal that is stopped ends with all in it: daemons without session and environment too", async () => {
      await using node = await isolated({ terminal_kill_grace: "400ms" });
      using shell = await opens(node);
      shell.types(`env -i /usr/bin/setsid /bin/sh -c 'trap "" HUP TERM; sleep 300; :' & echo sta''rted\n`);
      await shell.shows("started");
      const init = shell.processes()[0] ?? 0;
      expect(isAlive(init)).toBe(true);
      node.sandbox.stopTerminal(shell.id, "enough");
      expect(await shell.ends()).toMatchObject({ closed_reason: "enough" });
      await shell.isGone();
    });

    test("set-uid programs give a task nothing, unless the owner allows it; they do in a terminal", async () => {
      await using node = await isolated();
      const privileges = "grep -E '^(NoNewPrivs|CapBnd)' /proc/self/status | tr '\\n\\t' '  '";
      const task = node.runs(privileges);
      await task.finishes("success");
      expect(task.text("stdout")).toBe("CapBnd: 0000000000000000 NoNewPrivs: 1 ");
      using shell = await opens(node);
      expect(await shell.runs(privileges)).toContain("NoNewPrivs: 0");

      await using lenient = await isolated({ task_allow_setuid: true });
      const other = lenient.runs(privileges);
      await other.finishes("success");
      expect(other.text("stdout")).toContain("NoNewPrivs: 0");
    });

    test("a root task sees the machine, unless the owner shuts in root's as well", async () => {
      const look = {
        payload: { command: `[ -e /proc/${process.pid} ] && echo seen; id -un`, runAsRoot: true },
      };
      for (const [setting, seen] of [
        ["auto", "seen\nroot"],
        ["all", "root"],
      ] as const) {
        await using node = await isolated({ task_isolation: setting, task_poll_interval: "300ms" });
        node.sandbox.setRootAccess(NODE, "task");
        await node.statusBecomes("it is applied", ({ noderax }) => noderax?.root_profile === "task");
        await until("it is applied", () => node.sandbox.node(NODE).root_access.status === "applied");
        const task = node.runs(look);
        await task.finishes("success");
        expect(task.text("stdout")).toBe(seen);
      }
    });

    test("status says what is in force", async () => {
      await using node = await isolated();
      const { noderax } = await node.statusBecomes("known", ({ noderax }) => Boolean(noderax?.protection));
      expect(noderax?.protection?.isolation).toBe("auto");
      expect(noderax?.protection?.in_force).toContain(
        "tasks and terminals without root see only their own processes",
      );
      expect(noderax?.protection?.in_force).toContain("no set-uid programs in tasks");
    });
  });
