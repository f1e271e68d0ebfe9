// Promises of `install` where nothing manages services: the command that it prints runs the agent, and its removal is exact.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes } from "../../src/lib/duration.ts";
import { AGENT, type Machine, bootMachine, missing } from "../support/systemd.ts";

setDefaultTimeout(minutes(2));

const DOWNLOADED = "/usr/src/noderax-agent";
const LIST =
  "find /etc /opt /usr /var -xdev \\( -path /var/lib/sandbox -o -path /var/log \\) -prune -o ! -name '*-' ! -name .pwd.lock -printf '%p %m %u %y\\n' | sort; " +
  "cat /etc/passwd /etc/group";

describe.skipIf(missing !== undefined)(
  `install without an init system${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let machine: Machine;
    let before: string;
    let printed: string;

    beforeAll(async () => {
      machine = await bootMachine("no init");
      await machine.sh(
        `mv ${AGENT} ${DOWNLOADED} && rmdir /opt/noderax-agent && ` +
          `{ setsid ${DOWNLOADED} sandbox --json --port 8080 --data /var/lib/sandbox >/root/sandbox 2>&1 & }`,
      );
      await machine.until(`${DOWNLOADED} sandbox nodes`);
      before = await machine.sh(LIST);
    }, minutes(10));

    afterAll(async () => {
      await machine?.[Symbol.asyncDispose]();
    });

    const attempt = (command: string): Promise<string> => machine.sh(`{ ${command}; } 2>&1; echo "exit $?"`);

    test("prints the command that runs the agent in the foreground", async () => {
      const { token } = JSON.parse(
        await machine.run([DOWNLOADED, "sandbox", "install-token", "web", "--json"]),
      ) as { token: string };
      await machine.write("/root/token", token);
      printed = await machine.sh(
        `${DOWNLOADED} install --non-interactive --hostname=web --api-url=http://127.0.0.1:8080 --bootstrap-token-file=/root/token`,
      );
      expect(printed).toContain("neither systemd nor OpenRC");
      expect(await machine.sh("ls /etc/systemd/system /etc/init.d")).not.toContain("noderax");
      for (const action of ["start", "stop", "restart"])
        expect(await attempt(`noderax-agent ${action}`)).toMatch(
          /neither systemd nor OpenRC\n.*NODERAX_CONFIG_FILE=\/etc\/noderax-agent\/config.json noderax-agent run\nexit 1$/,
        );
    });

    test("that command makes it a node, which status and config set find by themselves", async () => {
      const [, command = ""] = /supervisor of yours: {2}(.+)/.exec(printed) ?? [];
      await machine.sh(
        `cd /; export ${command.replace(" ", "; setsid ")} >/root/out 2>&1 & echo $! >/root/pid`,
      );
      await machine.until("cd /usr && noderax-agent status | grep accepted");
      expect(await machine.run([DOWNLOADED, "sandbox", "task", "web", "id -un; pwd"])).toStartWith(
        "noderax\n/var/lib/noderax\n",
      );
      expect(await machine.sh("cd /tmp && noderax-agent config set task_timeout 30s 2>&1")).toContain(
        "A running agent uses it from its next start.",
      );
      expect(await attempt("noderax-agent config set task_timeout 40s --restart")).toMatch(
        /nothing was restarted[^]*exit 1$/,
      );
      expect(await attempt("noderax-agent logs --agent")).toMatch(/standard output[^]*exit 1$/);
      await machine.sh("kill $(cat /root/pid)");
      await machine.until("noderax-agent status 2>&1 | grep 'no agent runs'");
    });

    test("uninstall leaves the machine as it was", async () => {
      await machine.sh("noderax-agent uninstall --purge");
      expect(await machine.sh(LIST)).toBe(before);
    });
  },
);
