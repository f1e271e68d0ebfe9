// Promises of terminals on a machine run by systemd, with the unit that `install` writes: each is a service of its own, free
// of the agent's sandbox.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { AGENT, type Machine, bootMachine, missing } from "../support/systemd.ts";

setDefaultTimeout(minutes(2));

const DOWNLOADED = "/root/noderax-agent";

/** A shell command that prints the pids of the processes with this command line. */
const running = (command: string): string =>
  `for p in /proc/[0-9]*; do [ "$(tr '\\0' ' ' 2>/dev/null <$p/cmdline)" != "${command} " ] || echo "\${p#/proc/}"; done 2>/dev/null`;

describe.skipIf(missing !== undefined)(
  `terminals under the installed unit${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let machine: Machine;

    beforeAll(async () => {
      machine = await bootMachine();
      await machine.sh(`mv ${AGENT} ${DOWNLOADED}`);
      await machine.write(
        "/etc/systemd/system/sandbox.service",
        `[Service]\nExecStart=${DOWNLOADED} sandbox --json --port 8080 --data /var/lib/sandbox\n`,
      );
      await machine.sh("systemctl start sandbox");
      await machine.until(`${DOWNLOADED} sandbox nodes`);
      const { token } = JSON.parse(
        await machine.run([DOWNLOADED, "sandbox", "install-token", "web", "--json"]),
      ) as { token: string };
      await machine.write("/root/token", token);
      const where = "--api-url=http://127.0.0.1:8080 --hostname=web --bootstrap-token-file=/root/token";
      await machine.sh(`${DOWNLOADED} install --non-interactive ${where}`);
      await operator("PUT", "/nodes/web/root-access", { profile: "all" });
    }, minutes(5));

    afterAll(async () => {
      await machine?.[Symbol.asyncDispose]();
    });

    /** Calls the operator's API of the sandbox, from inside the machine. */
    async function operator<T>(method: string, path: string, body: object = {}): Promise<T> {
      const script = `
        const [method, path, body, place] = process.argv.slice(-4);
        const { url, operator_token } = (await Bun.file(place).json()).document;
        const headers = { authorization: "Bearer " + operator_token, "content-type": "application/json" };
        const init = { method, headers, ...(method === "GET" ? {} : { body }) };
        const response = await fetch(url + "/sandbox/v1" + path, init);
        if (!response.ok) throw new Error(response.status + " " + await response.text());
        console.log(await response.text());`;
      const call = `BUN_BE_BUN=1 ${DOWNLOADED} -e "$1" "$2" "$3" "$4" /run/noderax-0/sandbox-*.json`;
      const text = await machine.run(["sh", "-c", call, "sh", script, method, path, JSON.stringify(body)]);
      return (text === "" ? undefined : JSON.parse(text)) as T;
    }

    interface Terminal {
      readonly id: string;
      readonly status: string;
      readonly exit_code: number | null;
      readonly closed_reason: string | null;
    }

    class Shell {
      constructor(readonly id: string) {}

      static async opens(options: { root?: boolean } = {}): Promise<Shell> {
        const wanted = { node: "web", cols: 400, rows: 25, run_as_root: options.root ?? false };
        const shell = new Shell((await operator<Terminal>("POST", "/terminals", wanted)).id);
        await shell.types("PS1='%'' '\n");
        await shell.shows(/[\r\n]% $/);
        return shell;
      }

      get unit(): string {
        return `noderax-terminal-${this.id}.service`;
      }

      async types(text: string): Promise<void> {
        await operator("POST", `/terminals/${this.id}/input`, { text });
      }

      async text(): Promise<string> {
        const chunks = await operator<{ direction: string; payload: string }[]>(
          "GET",
          `/terminals/${this.id}/transcript?after=0`,
        );
        const output = chunks.filter(({ direction }) => direction !== "input");
        return Bun.stripANSI(output.map(({ payload }) => Buffer.from(payload, "base64").toString()).join(""));
      }

      async shows(expected: RegExp): Promise<string> {
        for (const end = performance.now() + seconds(20); ;) {
          const text = await this.text();
          if (expected.test(text)) return text;
          if (performance.now() > end) throw new Error(`not shown: ${expected}\n${text}`);
        }
      }

      /** Types a line, and resolves with what its command writes. */
      async says(line: string): Promise<string> {
        const mark = `mark${Math.random().toString(36).slice(2)}`;
        await this.types(`${line}; echo ${mark.slice(0, 4)}''${mark.slice(4)}\n`);
        const text = await this.shows(new RegExp(`${mark}\r?\n% $`));
        return text
          .slice(text.lastIndexOf("\n", text.lastIndexOf(`${mark.slice(0, 4)}''`)) + 1)
          .split("\n")
          .slice(1, -2)
          .join("\n")
          .replaceAll("\r", "");
      }

      async leaves(): Promise<void> {
        await this.types("exit\n");
        expect(await this.ends()).toMatchObject({ status: "closed", exit_code: 0 });
      }

      async ends(): Promise<Terminal> {
        for (const end = performance.now() + seconds(20); ;) {
          const terminal = await operator<Terminal>("GET", `/terminals/${this.id}`);
          if (terminal.status === "closed" || terminal.status === "failed") return terminal;
          if (performance.now() > end) throw new Error(`still ${JSON.stringify(terminal)}`);
        }
      }
    }

    test("the agent's unit has an exposure of at most 2.5, and its terminals none of its limits", async () => {
      await machine.sh("systemd-analyze security --threshold=25 noderax-agent >/dev/null");
      const limits = "grep -hE '^(CapBnd|NoNewPrivs|Seccomp):' ";
      const ofAgent = await machine.sh(`${limits} /proc/$(systemctl show -P MainPID noderax-agent)/status`);
      const ofMachine = await machine.sh(`${limits} /proc/1/status`);
      expect(ofAgent).not.toBe(ofMachine);
      const shell = await Shell.opens({ root: true });
      expect(await shell.says(`${limits} /proc/self/status`)).toBe(ofMachine);
      await shell.leaves();
    });

    test("a root terminal administrates the machine: what it mounts and writes is there for all", async () => {
      const shell = await Shell.opens({ root: true });
      expect(
        await shell.says(
          "id -u; mkdir /srv/m && mount -t tmpfs none /srv/m && touch /srv/m/x /etc/x /usr/x /root/x; echo $?; " +
            "cp /bin/true /srv/m/s; chmod u+s /srv/m/s; unshare -n chroot / stat -c %a /srv/m/s",
        ),
      ).toBe("0\n0\n4755");
      expect(await machine.sh("ls /srv/m /etc/x /usr/x /root/x")).toContain("s\nx");
      await machine.sh("umount /srv/m; rm -r /srv/m /etc/x /usr/x /root/x");
      await shell.leaves();
    });

    test("a terminal of the task user is bounded, sees itself alone, and sudo works in it", async () => {
      await machine.write("/etc/sudoers.d/test", "noderax ALL=(root) NOPASSWD: ALL\n");
      await machine.sh("chmod 440 /etc/sudoers.d/test");
      const shell = await Shell.opens();
      expect(
        await shell.says(
          "id -un; pwd; cat /proc/self/oom_score_adj; ulimit -Sn; stty size; ls /dev/pts; sudo -n id -u 2>/dev/null",
        ),
      ).toBe("noderax\n/var/lib/noderax\n0\n1024\n25 400\nptmx\n0");
      expect(await shell.says("env | cut -d= -f1 | sort | xargs")).toBe(
        "HOME LANG LOGNAME NODERAX_TERMINAL PAGER PATH PWD SHELL SHLVL TERM USER _",
      );
      expect(await machine.sh(`systemctl show -P TasksMax ${shell.unit}`)).toBe("2048");
      await machine.sh("rm /etc/sudoers.d/test");
      await shell.types("exit 7\n");
      expect(await shell.ends()).toMatchObject({ status: "closed", exit_code: 7 });
      await machine.until(`! systemctl is-active --quiet ${shell.unit}`);
    });

    test("Ctrl-Z, fg, Ctrl-C and a changed window reach the program", async () => {
      const shell = await Shell.opens();
      await shell.types("sleep 321\n");
      await machine.until(`${running("sleep 321")} | grep -q .`);
      await shell.types("\u001a");
      await shell.shows(/Stopped/);
      await shell.types("fg\n");
      await machine.until(`grep -q '^State:.S' /proc/$(${running("sleep 321")})/status`);
      await shell.types("\u0003");
      await shell.shows(/\^C\s+% $/);
      expect(await shell.says("echo $?")).toBe("130");
      await shell.says("trap 'echo changed' WINCH");
      await operator("POST", `/terminals/${shell.id}/resize`, { cols: 120, rows: 40 });
      await shell.types("\n");
      await shell.shows(/changed/);
      expect(await shell.says("stty size")).toBe("40 120");
      await shell.leaves();
    });

    test("a package manager that locks and logs answers a query all the same, with its exit code", async () => {
      const writes = "#!/bin/sh\ntouch /run/lock/query /var/log/query || exit 3\n";
      await machine.write("/usr/local/sbin/dpkg-query", `${writes}exec /usr/bin/dpkg-query "$@"\n`);
      await machine.sh("chmod +x /usr/local/sbin/dpkg-query");
      const list = "noderax-agent sandbox packages web list --json";
      const found = await machine.sh(`${list} | head -c 100000`);
      expect(found).toContain('"base-files"');
      await machine.write("/usr/local/sbin/dpkg-query", "#!/bin/sh\necho 'E: broken $HOME' >&2; exit 3\n");
      expect(await machine.sh(`${list} 2>&1 || true`)).toContain("broken $HOME");
      await machine.sh("rm /usr/local/sbin/dpkg-query");
    });

    test("the journal is read as the user of tasks, which the agent cannot become inside of its own unit", async () => {
      const scan = "noderax-agent sandbox scan web noderax-agent --no-root --lines 3";
      expect(await machine.sh(`${scan} 2>&1 || true`)).toContain("insufficient permissions");
      await machine.sh("usermod --append --groups systemd-journal noderax");
      expect(await machine.sh(scan)).toContain("started");
      await machine.sh("gpasswd --delete noderax systemd-journal");
    });

    test("the last output before an exit is not lost", async () => {
      for (let round = 0; round < 10; round++) {
        const shell = await Shell.opens({ root: round % 2 === 0 });
        await shell.types("seq 40000; exit 3\n");
        expect(await shell.ends()).toMatchObject({ exit_code: 3 });
        expect(await shell.text()).toMatch(/\n39999\r\n40000\r\n/);
      }
    });

    test("a terminal that is closed takes everything with it that it has started, a hidden daemon too", async () => {
      const shell = await Shell.opens();
      await shell.says("(env -i setsid sleep 654 >/dev/null 2>&1 &)");
      await machine.until(`${running("sleep 654")} | grep -q .`);
      await operator("POST", `/terminals/${shell.id}/stop`);
      expect(await shell.ends()).toMatchObject({ status: "closed" });
      expect(await machine.sh(running("sleep 654"))).toBe("");
      await machine.until(`! systemctl is-active --quiet ${shell.unit}`);
    });

    test("a job that nohup left behind goes on over a restart of the agent, in its unit", async () => {
      const shell = await Shell.opens();
      await shell.says("(nohup sleep 987 >/dev/null 2>&1 &)");
      await machine.until(`${running("sleep 987")} | grep -q .`);
      await shell.leaves();
      await machine.sh("systemctl restart noderax-agent");
      await machine.until(`${DOWNLOADED} status`);
      expect(await machine.sh(`cat /proc/$(${running("sleep 987")})/cgroup`)).toContain(shell.unit);
      expect(await machine.sh(`systemctl is-active ${shell.unit}`)).toBe("active");
      await machine.sh(`systemctl stop ${shell.unit}`);
      expect(await machine.sh(running("sleep 987"))).toBe("");
    });

    test("a terminal whose unit is killed is reported", async () => {
      const shell = await Shell.opens();
      await machine.sh(`systemctl kill --signal=KILL ${shell.unit}`);
      expect(await shell.ends()).toMatchObject({ status: "closed", exit_code: 137 });
    });

    test("a terminal whose client is killed is reported and leaves nothing", async () => {
      const shell = await Shell.opens();
      await shell.types("sleep 543\n");
      await machine.until(`${running("sleep 543")} | grep -q .`);
      const client = `grep -lzxe --unit[=]${shell.unit} /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3`;
      await machine.sh(`kill -9 $(${client})`);
      expect(await shell.ends()).toMatchObject({ exit_code: 137, closed_reason: "killed by SIGKILL" });
      expect(await machine.sh(running("sleep 543"))).toBe("");
      await machine.until(`! systemctl is-active --quiet ${shell.unit}`);
    });

    test("a killed agent is back before its patience is over, reports its terminal, and leaves nothing of it", async () => {
      const shell = await Shell.opens();
      await shell.types("trap '' HUP; sleep 765 & wait\n");
      await machine.until(`${running("sleep 765")} | grep -q .`);
      await machine.sh("systemctl kill --kill-who=main --signal=KILL noderax-agent");
      expect(await shell.ends()).toMatchObject({
        closed_reason: "the agent was restarted, and the terminal with it",
      });
      expect(await machine.sh(running("sleep 765"))).toBe("");
    });

    test("a root terminal opens, inside of the agent's unit, when systemd starts nothing any more", async () => {
      const broken = '#!/bin/sh\n[ "$1" != --version ] || exec echo "systemd 252"\necho broken >&2; exit 1\n';
      await machine.sh("mv /usr/bin/systemd-run /root/");
      await machine.write("/usr/bin/systemd-run", broken);
      await machine.sh("chmod +x /usr/bin/systemd-run");
      try {
        const shell = await Shell.opens({ root: true });
        expect(await shell.says("id -u; tail -n 1 /proc/self/cgroup")).toMatch(
          /^0\n0::.*noderax-agent\.service$/,
        );
        await shell.leaves();
      } finally {
        await machine.sh("mv /root/systemd-run /usr/bin/");
      }
    });
  },
);
