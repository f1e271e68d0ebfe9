// Promises of `install` on a machine run by OpenRC: a supervised service that comes back, a bounded log, an exact removal.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { minutes } from "../../src/lib/duration.ts";
import { AGENT, type Machine, bootMachine, missing } from "../support/systemd.ts";

setDefaultTimeout(minutes(2));

const DOWNLOADED = "/usr/src/noderax-agent";
const LOG = "/var/log/noderax-agent.log";
/** What an installation may not change. Accounts are written by tools that keep the file before, with a dash. */
const LIST =
  "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /dev -o -path /root -o -path /var/tmp " +
  "-o -path /var/lib/sandbox \\) -prune -o ! -name '*-' ! -name .pwd.lock -printf '%p %m %u %y\\n' | sort; cat /etc/passwd /etc/group";
const CHILD = "cat /run/openrc/options/noderax-agent/child_pid";

describe.skipIf(missing !== undefined)(
  `install under OpenRC${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let machine: Machine;
    let before: string;

    beforeAll(async () => {
      machine = await bootMachine("openrc");
      await machine.sh(`mv ${AGENT} ${DOWNLOADED} && rmdir ${AGENT.slice(0, AGENT.lastIndexOf("/"))}`);
      await machine.write(
        "/etc/init.d/sandbox",
        "#!/sbin/openrc-run\nsupervisor=supervise-daemon\n" +
          `command=${DOWNLOADED}\ncommand_args="sandbox --json --port 8080 --data /var/lib/sandbox"\n`,
      );
      await machine.sh("chmod 755 /etc/init.d/sandbox && rc-update add sandbox && rc-service sandbox start");
      await machine.until(`${DOWNLOADED} sandbox nodes`);
      // A user whom doas lets become root, and sudo does not.
      await machine.sh(
        "useradd --create-home ops && echo 'permit nopass ops' >/etc/doas.conf; mkdir /etc/conf.d",
      );
      before = await machine.sh(LIST);
    }, minutes(5));

    afterAll(async () => {
      await machine?.[Symbol.asyncDispose]();
    });

    const agent = (...args: string[]): Promise<string> => machine.run([DOWNLOADED, ...args]);
    const attempt = async (command: string): Promise<{ code: number; text: string }> => {
      const text = await machine.sh(`{ ${command}; } 2>&1; echo "exit $?"`);
      return { code: Number(/exit (\d+)$/.exec(text)?.[1]), text };
    };
    const child = (): Promise<string> => machine.sh(CHILD);
    const runTask = (command: string): Promise<string> => agent("sandbox", "task", "web", command);

    test("install.sh makes a node with doas, for a user whom sudo refuses", async () => {
      const { token } = JSON.parse(await agent("sandbox", "install-token", "web", "--json")) as {
        token: string;
      };
      const script = await Bun.file(join(import.meta.dir, "../../install.sh")).text();
      const user = ["setpriv", "--reuid=ops", "--regid=ops", "--init-groups", "env", "HOME=/home/ops"];
      const flags = [
        "--binary",
        DOWNLOADED,
        "--api-url",
        "http://127.0.0.1:8080",
        "--bootstrap-token",
        token,
      ];
      expect(await machine.run([...user, "sh", "-s", "--", ...flags], script)).toContain("runs as a service");
      expect(await machine.sh("stat -c '%U %a' /etc/init.d/noderax-agent")).toBe("root 755");
      expect(await machine.sh("rc-update show default")).toContain("noderax-agent");
      expect(await runTask("id -un; pwd")).toStartWith("noderax\n/var/lib/noderax\n");
    });

    test("a second run changes nothing and restarts nothing", async () => {
      const running = await child();
      expect(await machine.sh("noderax-agent install")).toContain("nothing has changed");
      expect(await child()).toBe(running);
    });

    test("start, stop, restart and status say what is true", async () => {
      const first = await child();
      expect(await machine.sh("noderax-agent status")).toMatch(
        /service +active since .*, enabled, 0 restarts/,
      );
      await machine.sh("noderax-agent stop");
      const stopped = await attempt("noderax-agent status");
      expect(stopped.text).toContain("inactive, enabled");
      expect(stopped.text).toContain("Start it:  noderax-agent start");
      expect(stopped.code).toBe(1);
      await machine.sh("noderax-agent start");
      const second = await child();
      expect(second).not.toBe(first);
      expect((await attempt("noderax-agent start")).text).toContain("runs already");
      // Short: the claim of an agent that is killed is waited out by the next one.
      await machine.sh("cd /tmp && noderax-agent config set task_poll_interval 1s --restart");
      expect(await child()).not.toBe(second);
      expect(await machine.sh("noderax-agent logs --agent --tail 20")).toContain("online");
    });

    test("an agent that is killed is started again, every time", async () => {
      for (const times of [1, 2, 3]) {
        const running = await child();
        await machine.sh(`kill -9 ${running}`);
        await machine.until(`[ "$(${CHILD})" != ${running} ] && kill -0 "$(${CHILD})"`);
        await machine.until(`noderax-agent status | grep '${times} restart'`);
      }
      await machine.until("noderax-agent status");
      expect(await runTask("echo again")).toContain("again");
    });

    test("its log stays within its bound", async () => {
      await machine.sh(`head -c 20000000 /dev/zero | tr '\\0' x >>${LOG}`);
      await machine.until(
        `[ "$(stat -c %s ${LOG})" -lt 1000000 ] && [ "$(stat -c %s ${LOG}.1)" -gt 20000000 ]`,
      );
      expect(await machine.sh(`stat -c '%U %a' ${LOG} ${LOG}.1`)).toBe("root 600\nroot 600");
      await machine.sh("noderax-agent restart");
      expect(await machine.sh("noderax-agent logs --agent")).toContain("online");
    });

    test("comes back after a reboot", async () => {
      await machine.reboot();
      await machine.until("noderax-agent status");
      expect(await runTask("echo again")).toContain("again");
    });

    test("uninstall keeps data and log, and with --purge leaves the machine as it was", async () => {
      await machine.write("/etc/conf.d/noderax-agent", "rc_need=localmount\n");
      const kept = await attempt("noderax-agent uninstall");
      expect(kept.text).toContain("kept /var/lib/noderax-agent: data");
      expect(await machine.sh("ls /opt /usr/local/bin /etc/init.d; rc-update show")).not.toContain(
        "noderax-agent",
      );
      await machine.sh(`test -s ${LOG} && test -f /etc/conf.d/noderax-agent`);
      await agent("uninstall", "--purge");
      expect(await machine.sh(LIST)).toBe(before);
    });
  },
);
