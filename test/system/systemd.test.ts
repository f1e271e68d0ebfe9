// Promises of the compiled executable as a root service: tasks in units of their own, which outlive it but not its word.
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { AGENT, type Node, bootNode, missing } from "../support/systemd.ts";

/** With what a shell and systemd would each expand, did nobody quote it. */
const STATE = "/var/lib/noderax ${HOME} 100%n";

// For the conditions below to say themselves what they wait for in vain.
setDefaultTimeout(minutes(2));

describe.skipIf(missing !== undefined)(
  `a service under systemd${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let node: Node;

    // The image is made when it is not there: half a minute, minutes on a busy machine.
    beforeAll(async () => {
      node = await bootNode({
        stateDirectory: STATE,
        settings: { task_poll_interval: "1s", task_kill_grace: "2s", task_timeout: "1m" },
      });
    }, minutes(10));

    afterAll(async () => {
      await node?.[Symbol.asyncDispose]();
    });

    afterEach(async () => {
      try {
        await node.until("! systemctl list-units --all --plain --no-legend | grep -q noderax-task-");
        expect(await node.sh("systemctl list-units --failed --plain --no-legend")).toBe("");
      } finally {
        // What a failed test leaves behind is not to fail the next one.
        await node.sh("systemctl kill --signal=KILL 'noderax-task-*'; systemctl reset-failed");
      }
    });

    const mainPid = (): Promise<string> => node.sh("systemctl show --property=MainPID --value noderax-agent");
    const state = (unit: string): Promise<string> =>
      node.sh(`systemctl show --property=ActiveState,Result,ExecMainStatus ${unit}`);

    test("runs a task as noderax, in a unit and slice of its own, beside the agent's", async () => {
      const id = await node.order("id -un; grep ^0: /proc/self/cgroup");
      const { status, log } = await node.ended(id);
      expect(status).toBe("success");
      const [user, group] = log.split("\n");
      expect(user).toBe("noderax");
      expect(group).toEndWith(`/noderax.slice/noderax-tasks.slice/noderax-task-${id}-1.service`);
      const agent = await node.sh(`cat /proc/${await mainPid()}/cgroup`);
      expect(agent).toEndWith("/system.slice/noderax-agent.service");
    });

    test("shows a task nothing of its own environment or systemd's", async () => {
      const { log } = await node.ended(await node.order("env", { environment: { MINE: "1" } }));
      const names = log.split("\n").map((line) => line.split("=")[0]);
      const ours = [
        "COLUMNS",
        "HOME",
        "LANG",
        "LOGNAME",
        "MINE",
        "PAGER",
        "PATH",
        "SHELL",
        "TASK_ID",
        "TERM",
        "USER",
      ];
      expect(new Set(names)).toEqual(new Set([...ours, "PWD"]));
    });

    test("takes a task up again after a restart of the service and after kill -9, and reports it once", async () => {
      const id = await node.order(
        "echo one $$; touch /tmp/one; until [ -e /tmp/go ]; do sleep 0.1; done; echo two >&2; seq 1000; echo three",
      );
      await node.until("[ -e /tmp/one ]");
      await node.sh("systemctl restart noderax-agent");
      const restarted = await mainPid();
      await node.sh(`kill -9 ${restarted}`);
      await node.until(
        `pid=$(systemctl show --property=MainPID --value noderax-agent) && [ "$pid" != 0 ] && [ "$pid" != ${restarted} ]`,
      );
      // The server still holds the claim of the killed agent, and may hand it the next test's task.
      await node.until(`${AGENT} status --json | grep -q '"waiting for a task"'`);
      await node.sh("touch /tmp/go");

      const { status, result, log } = await node.ended(id);
      expect(status).toBe("success");
      expect(result).toMatchObject({ exitCode: 0 });
      const lines = log.split("\n");
      expect(lines[0]).toMatch(/^one \d+$/);
      const numbers = Array.from({ length: 1_000 }, (_, i) => String(i + 1));
      expect(lines.slice(1).filter((line) => line !== "two")).toEqual([...numbers, "three"]);
      expect(lines.filter((line) => line === "two")).toHaveLength(1);
      await node.until("journalctl --unit=noderax-agent | grep -q 'finished: success.*" + id + "'");
      const reports = await node.sh(`journalctl --unit=noderax-agent | grep -c '${id.slice(0, 8)} finished'`);
      expect(reports).toBe("1");
    });

    /**
     * A shell command that leaves behind what a look at sessions, parents and environments does not find, and that does
     * not listen to SIGTERM. `/tmp/<name>` says that it runs; its name stands in its arguments.
     */
    const demon = (name: string, output: string): string =>
      `(env -i /usr/bin/setsid /bin/sh -c 'trap "" TERM; : >/tmp/${name}; ` +
      `while :; do sleep 0.2; done 2>/dev/null' ${output} &)`;
    const isAlive = async (name: string): Promise<boolean> => {
      return (await node.sh(`grep -ls ':[ ]>/tmp/${name};' /proc/[0-9]*/cmdline || true`)) !== "";
    };

    test("ends with a cancelled task everything it has started, a hidden daemon too", async () => {
      const id = await node.order(`${demon("hidden", ">/dev/null 2>&1")}; echo begun; exec sleep 600`);
      await node.until("[ -e /tmp/hidden ]");
      expect(await isAlive("hidden")).toBeTrue();
      await node.cancel(id);
      const { status, log } = await node.ended(id);
      expect({ status, log, hidden: await isAlive("hidden") }).toEqual({
        status: "cancelled",
        log: "begun",
        hidden: false,
      });
    });

    test("leaves alone what a task that ended by itself has left in the background", async () => {
      const wait = "until [ -e /tmp/left ]; do sleep 0.1; done";
      const id = await node.order(`${demon("left", ">/dev/null 2>&1")}; ${wait}; echo done`);
      expect((await node.ended(id)).status).toBe("success");
      // Its unit lasts as long as it does, and everything in it can be ended by it.
      expect(await isAlive("left")).toBeTrue();
      expect(await state(`noderax-task-${id}-1`)).toContain("ActiveState=active");
      await node.sh(`systemctl kill --signal=KILL noderax-task-${id}-1.service`);
      await node.until(`! systemctl is-active --quiet noderax-task-${id}-1.service`);
      expect(await isAlive("left")).toBeFalse();
    });

    test("gives a task that is out of time its grace, and then ends a daemon that holds its output", async () => {
      const id = await node.order(
        `trap 'echo tidying; sleep 1; echo tidy; exit 3' TERM; ${demon("holder", "")}; exec 2>/dev/null; while :; do sleep 0.1; done`,
        { timeoutSeconds: 2 },
      );
      const { status, result, log } = await node.ended(id);
      expect(status).toBe("failed");
      expect(result).toMatchObject({ exitCode: 3, error: expect.stringMatching(/^timed out after 2s/) });
      expect(log).toBe("tidying\ntidy");
      expect(await isAlive("holder")).toBeFalse();
    });

    test("keeps exit code and last words of a task whose unit is stopped", async () => {
      const id = await node.order(
        "exec 2>/dev/null; trap 'echo last words; exit 3' TERM; touch /tmp/stoppable; while :; do sleep 0.1; done",
      );
      await node.until("[ -e /tmp/stoppable ]");
      await node.sh(`systemctl stop noderax-task-${id}-1.service`);
      const { status, result, log } = await node.ended(id);
      expect({ status, log }).toEqual({ status: "failed", log: "last words" });
      expect(result).toMatchObject({ exitCode: 3 });
    });

    test("ends what is left of a task whose supervisor was killed, before it reports that", async () => {
      const id = await node.order(`${demon("orphan", ">/dev/null 2>&1")}; exec sleep 600`);
      await node.until("[ -e /tmp/orphan ]");
      await node.sh(`kill -9 $(systemctl show --property=MainPID --value noderax-task-${id}-1.service)`);
      const { status, result } = await node.ended(id);
      expect({ status, orphan: await isAlive("orphan") }).toEqual({ status: "failed", orphan: false });
      expect(String(result?.["error"])).toStartWith("the command's supervisor was killed from outside");
    });

    test("follows a command whose systemd-run was killed after it had started it", async () => {
      await node.sh("mv /usr/bin/systemd-run /usr/bin/systemd-run.real");
      const killed = '#!/bin/sh\nsystemd-run.real "$@"; [ "$1" = --version ] || { sleep 1; kill -9 $$; }\n';
      await node.write("/usr/bin/systemd-run", killed);
      await node.sh("chmod +x /usr/bin/systemd-run");
      try {
        const { status, log } = await node.ended(await node.order("sleep 2; echo done"));
        expect({ status, log }).toEqual({ status: "success", log: "done" });
      } finally {
        await node.sh("mv /usr/bin/systemd-run.real /usr/bin/systemd-run");
      }
    });

    test("bounds tasks and terminals each for itself, and neither logs under its name", async () => {
      const show =
        "cat /proc/self/cgroup; logger -t noderax-agent forged; cat /sys/fs/cgroup/pids.max; id -un; ls /dev/pts";
      const terminal = await node.run([AGENT, "sandbox", "terminal", "web"], `${show}\nexit\n`);
      expect(terminal).toMatch(/noderax-terminals\.slice\/noderax-terminal-[0-9a-f-]+\.service/);
      expect(terminal).toMatch(/^ptmx\r?$/m);
      const id = await node.order(`${show}; touch /tmp/shown; until [ -e /tmp/seen ]; do sleep 0.1; done`);
      await node.until("[ -e /tmp/shown ]");
      const limits = await node.sh(
        `systemctl show --property=TasksMax,OOMPolicy,KillMode,ExitType noderax-task-${id}-1.service`,
      );
      await node.sh("touch /tmp/seen");
      expect(limits.split("\n").sort()).toEqual([
        "ExitType=cgroup",
        "KillMode=control-group",
        "OOMPolicy=continue",
        "TasksMax=2048",
      ]);
      expect((await node.ended(id)).status).toBe("success");
      await node.until("journalctl --identifier=noderax-agent | grep -q forged");
      expect(await node.sh("journalctl --unit=noderax-agent | grep -c forged || true")).toBe("0");
    });

    test("stops quickly and cleanly, and leaves a running task alone", async () => {
      const id = await node.order(
        "touch /tmp/running; until [ -e /tmp/enough ]; do sleep 0.1; done; echo done",
      );
      await node.until("[ -e /tmp/running ]");
      const stopped = await node.sh(
        "begun=$(date +%s%3N); systemctl stop noderax-agent; echo $(($(date +%s%3N) - begun))",
      );
      // A claim may be in flight, which is given up after a second.
      expect(Number(stopped)).toBeLessThan(seconds(5));
      figures.push(`stop ${stopped} ms`);
      expect(await state("noderax-agent")).toBe("Result=success\nExecMainStatus=0\nActiveState=inactive");
      expect(await state(`noderax-task-${id}-1`)).toContain("ActiveState=active");
      await node.sh("touch /tmp/enough");
      await node.until(`! systemctl is-active noderax-task-${id}-1`);

      await node.sh("systemctl start noderax-agent");
      expect(await node.ended(id)).toMatchObject({ status: "success", log: "done" });
    });

    test("lets a task neither read its secrets nor touch its processes", async () => {
      const agent = await mainPid();
      const attempts = {
        identity: `cat '${STATE}/identity.json'`,
        state: `ls '${STATE}'`,
        runs: `ls '${STATE}/tasks'`,
        config: "cat /etc/noderax-agent/config.json",
        environment: `cat /proc/${agent}/environ`,
        agent: `kill -0 ${agent}`,
        supervisor: '[ "$PPID" != 0 ] && kill -0 $PPID',
        service: "systemctl --no-ask-password stop noderax-agent",
        unit: "systemd-run --no-ask-password true",
        executable: `touch ${AGENT}`,
      };
      const tries = Object.entries(attempts).map(([name, attempt]) => `${attempt} && echo allowed ${name}`);
      const id = await node.order(`exec 2>/dev/null; ${tries.join("; ")}; kill -0 $$ && echo end`);
      expect((await node.ended(id)).log).toBe("end");
      expect(await mainPid()).toBe(agent);
    });

    test("ends what a Go agent left in force: a task cannot become root by its rules, nor change what root obeys", async () => {
      const rule = "noderax ALL=(root) NOPASSWD: /bin/bash";
      await node.write("/etc/sudoers.d/noderax-agent-root-access", `${rule}\n`);
      await node.write("/usr/local/libexec/noderax-agent-task-root", "#!/bin/sh\n");
      await node.sh(
        "chmod 440 /etc/sudoers.d/noderax-agent-root-access; chown -R noderax /opt/noderax-agent /etc/noderax-agent",
      );
      const becomesRoot = "setpriv --reuid=noderax --regid=noderax --init-groups sudo -n bash -c 'id -u'";
      expect(await node.sh(becomesRoot)).toBe("0");

      await node.sh("systemctl restart noderax-agent");
      await node.until(`${AGENT} status`);
      expect(await node.sh(`${becomesRoot} 2>/dev/null || echo refused`)).toBe("refused");
      const { log } = await node.ended(
        await node.order("sudo -n bash -c 'id -u' 2>/dev/null || echo refused"),
      );
      expect(log).toBe("refused");
      const owners =
        "stat -c %U /opt/noderax-agent /opt/noderax-agent/noderax-agent /etc/noderax-agent/config.json";
      expect(await node.sh(owners)).toBe("root\nroot\nroot");
      expect(await node.sh("ls /etc/sudoers.d /usr/local/libexec | grep noderax || echo none")).toBe("none");
      const journal = await node.sh("journalctl --unit=noderax-agent");
      expect(journal).toContain(rule);
      expect(journal).toContain("/etc/noderax-agent/config.json belonged to noderax");
    });

    test("as the user of its tasks, it says so, names the restart that ended a task, and can become root's", async () => {
      const config = { api_url: "http://127.0.0.1:8080", state_file: "/srv/second/identity.json" };
      await node.write("/etc/second.json", JSON.stringify({ ...config, task_poll_interval: "1s" }));
      const { token } = JSON.parse(await node.agent("sandbox", "install-token", "second", "--json")) as {
        token: string;
      };
      const enroll = [
        "enroll",
        "--config",
        "/etc/second.json",
        "--hostname",
        "second",
        "--bootstrap-token",
        "-",
      ];
      await node.run([AGENT, ...enroll], token);
      await node.sh("chown -R noderax /srv/second; chmod 644 /etc/second.json");
      // As the Go agent's installer writes it: everything else is the default.
      const unit = (user: string): Promise<void> =>
        node.write(
          "/etc/systemd/system/second.service",
          `[Service]\nUser=${user}\nExecStart=${AGENT} run --config /etc/second.json\n`,
        );
      const status = `${AGENT} status --config /etc/second.json`;
      await unit("noderax");
      await node.sh("systemctl daemon-reload; systemctl start second");
      await node.until(`${status} --json | grep -q '"standing": *"ok"'`);
      const warnings = await node.sh(`${status} || true`);
      expect(warnings).toContain("the agent runs as noderax, and so do its tasks");
      expect(warnings).toContain("tasks run inside second.service, and systemd ends them");

      const order = await node.agent(
        "sandbox",
        "task",
        "second",
        "touch /tmp/second; exec sleep 600",
        "--json",
      );
      const { task_id: id } = JSON.parse(order) as { task_id: string };
      await node.until("[ -e /tmp/second ]");
      await node.sh("systemctl restart second");
      const { status: end, result } = await node.ended(id);
      expect(end).toBe("failed");
      expect(result).toMatchObject({ error: expect.stringContaining("stop or restart of second.service") });

      await unit("root");
      await node.sh("systemctl daemon-reload; systemctl restart second");
      await node.until(`${status} --json | grep -q '"standing": *"ok"'`);
      expect(await node.sh("stat -c %U /srv/second /srv/second/identity.json /srv/second/state.db")).toBe(
        "root\nroot\nroot",
      );
      await node.sh("systemctl stop second");
    });

    test(
      "reports what a reboot interrupted as failed, with the output so far",
      async () => {
        const id = await node.order("echo before; touch /tmp/before; exec sleep 600");
        await node.until("[ -e /tmp/before ]");
        await node.reboot();
        const { status, result, log } = await node.ended(id);
        expect({ status, log }).toEqual({ status: "failed", log: "before" });
        expect(result).toMatchObject({ error: "interrupted by reboot" });
      },
      minutes(2),
    );

    test(
      "goes down within 15 s with a task that ignores SIGTERM, and reports it as interrupted",
      async () => {
        const id = await node.order(
          "trap '' TERM INT HUP; echo stubborn; touch /tmp/stubborn; while :; do sleep 1; done",
        );
        await node.until("[ -e /tmp/stubborn ]");
        const begun = performance.now();
        await node.shutDown();
        const took = performance.now() - begun;
        await node.boot();
        figures.push(`shutdown with a stubborn task ${Math.round(took)} ms`);
        expect(await node.ended(id)).toMatchObject({
          status: "failed",
          log: "stubborn",
          result: { error: "interrupted by reboot" },
        });
        expect(took).toBeLessThan(seconds(15));
      },
      minutes(2),
    );

    test(
      "starts a task's process soon after its claim, also on a busy machine",
      async () => {
        for (let n = 0; n < 10; n++) await node.ended(await node.order("date +started=%s%3N"));
        const tasks = JSON.parse(await node.agent("task", "list", "--limit", "10", "--json")) as {
          id: string;
          claimed_at: string;
          launched_at: string;
        }[];
        const sinceClaim: number[] = [];
        const sinceLaunch: number[] = [];
        for (const { id, claimed_at, launched_at } of tasks) {
          const [, at] = /^started=(\d+)$/.exec((await node.ended(id)).log) ?? [];
          sinceClaim.push(Number(at) - Date.parse(claimed_at));
          sinceLaunch.push(Number(at) - Date.parse(launched_at));
        }
        figures.push(
          `claim → process ${median(sinceClaim)} ms, of it systemd-run → process ${median(sinceLaunch)} ms (medians of 10)`,
        );
        expect(median(sinceClaim)).toBeLessThan(seconds(5));
      },
      minutes(1),
    );

    const figures: string[] = [];
    afterAll(() => console.info(`under systemd: ${figures.join("; ")}`));
  },
);

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
