// Promises of exit codes: each one that the README lists, as the commands that manage the service end with it on a real machine.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { minutes } from "../../src/lib/duration.ts";
import { AGENT, type Machine, bootMachine, missing } from "../support/systemd.ts";

setDefaultTimeout(minutes(3));

const DOWNLOADED = "/root/noderax-agent";
const NOBODY = "setpriv --reuid=65534 --clear-groups";
const PID = "systemctl show --property=MainPID --value noderax-agent";

/** The codes of the README's sentence about them. */
function documented(): number[] {
  const readme = readFileSync(join(import.meta.dir, "../../README.md"), "utf8");
  const [, sentence = ""] = /Exit codes: ([^]+?)\n\n/.exec(readme) ?? [];
  return [...sentence.matchAll(/(\d+)\s[a-z]/g)].map(([, code]) => Number(code));
}

/** A command, the code it ends with, and words of what it says. */
type Case = readonly [command: string, code: number, says: RegExp];

describe.skipIf(missing !== undefined)(
  `exit codes${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let machine: Machine;
    const seen = new Set<number>();

    beforeAll(async () => {
      machine = await bootMachine();
      await machine.sh(`mv ${AGENT} ${DOWNLOADED} && rmdir /opt/noderax-agent && chmod 711 /root`);
      await machine.write(
        "/etc/systemd/system/sandbox.service",
        `[Service]\nExecStart=${DOWNLOADED} sandbox --json --port 8080 --data /var/lib/sandbox\n`,
      );
      await machine.sh("systemctl start sandbox");
      await machine.until(`${DOWNLOADED} sandbox nodes`);
    }, minutes(10));

    afterAll(async () => {
      await machine?.[Symbol.asyncDispose]();
    });

    const all = async (cases: readonly Case[]): Promise<void> => {
      for (const [command, code, says] of cases) {
        const text = await machine.sh(`{ ${command}; } 2>&1 </dev/null; echo "exit $?"`);
        expect(`${command}\n${text}`).toMatch(says);
        expect(`${command}\n${text}`).toEndWith(`exit ${code}`);
        seen.add(code);
      }
    };
    const install = `${DOWNLOADED} install --non-interactive`;
    const logs = `${DOWNLOADED} logs`;

    test("on a machine without the agent", async () => {
      await all([
        [install, 2, /neither --api-url nor --server-url/],
        [`${install} --api-url http://127.0.0.1:8080`, 2, /needs --email/],
        [`${install} --no-such-flag`, 2, /unknown/i],
        [`${NOBODY} ${install}`, 5, /must run as root/],
        [`${install} --api-url http://127.0.0.1:9 --email a@example.com`, 4, /127\.0\.0\.1:9/],
        [
          `${install} --api-url http://127.0.0.1:8080 --bootstrap-token wrong-token-of-nobody`,
          5,
          /does not know this bootstrap token/,
        ],
        [`${NOBODY} ${DOWNLOADED} uninstall`, 5, /must run as root/],
        [`${DOWNLOADED} uninstall`, 1, /no installation/],
        ...["start", "stop", "restart"].map((action): Case => [
          `${DOWNLOADED} ${action}`,
          1,
          /not installed as a service/,
        ]),
        [`${DOWNLOADED} status`, 1, /no agent runs/],
        [`${logs} --agent --tail x`, 2, /not a number of lines/],
        [`${logs} shop/web --node 127.0.0.1:9`, 4, /127\.0\.0\.1:9/],
        [logs, 2, /missing <service>/],
        [`${DOWNLOADED} config set no_such_setting 1`, 2, /unknown setting/],
        [`${DOWNLOADED} config set task_timeout soon`, 2, /task_timeout/],
        [`${NOBODY} ${DOWNLOADED} config set --config=/root/x.json log_level debug`, 5, /x\.json/],
        [
          `${DOWNLOADED} config set --config=/root/x.json log_level debug --restart`,
          1,
          /no installed service/,
        ],
      ]);
    });

    test("on a node, whose server goes away, and which is taken from it", async () => {
      const { token } = JSON.parse(
        await machine.run([DOWNLOADED, "sandbox", "install-token", "web", "--json"]),
      ) as { token: string };
      await machine.write("/root/token", token);
      await all([
        [
          `${install} --api-url=http://127.0.0.1:8080 --hostname=web --bootstrap-token-file=/root/token`,
          0,
          /online/,
        ],
        ["noderax-agent status", 0, /accepted/],
        ["noderax-agent logs --agent --tail 5", 0, /online/],
        ["noderax-agent config set log_level debug --restart", 0, /restarted and works/],
        ...["start", "stop", "restart"].map((action): Case => [
          `${NOBODY} noderax-agent ${action}`,
          action === "start" ? 0 : 5,
          /./,
        ]),
        ["noderax-agent stop", 0, /stopped/],
        ["noderax-agent status", 1, /Start it/],
        [`${NOBODY} noderax-agent start`, 5, /sudo/],
        ["systemctl stop sandbox; noderax-agent start", 6, /was started, but/],
        ["noderax-agent status", 6, /no answer/],
        // Ctrl-C, while it waits for the server.
        [
          `p=$(${PID}); noderax-agent restart & until [ "$(${PID})" != "$p" ]; do sleep 0.1; done; kill -INT $!; wait $!`,
          130,
          /interrupted/,
        ],
        // Its reader is gone before it writes.
        [
          "mkfifo /run/gone; cat /run/gone >/dev/null & exec 3>/run/gone; kill $!; wait $!; noderax-agent config show >&3",
          141,
          /./,
        ],
        ["systemctl start sandbox; noderax-agent restart", 0, /runs/],
        // Its identity is away: it runs, and waits to be enrolled.
        [
          "noderax-agent stop && mv /var/lib/noderax-agent/agent_identity.json /root/ && systemctl start noderax-agent; " +
            "until noderax-agent status | grep -q 'not enrolled'; do sleep 0.1; done; noderax-agent status",
          3,
          /not enrolled/,
        ],
        ["noderax-agent uninstall --purge", 0, /is removed/],
      ]);
    });

    test("are those that the README lists, each of them", () => {
      expect([...seen].toSorted((a, b) => a - b)).toEqual(documented());
    });
  },
);
