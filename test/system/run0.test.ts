// Promises of install.sh on a machine whose only way to root is run0, and of the unit under that newer systemd.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { minutes } from "../../src/lib/duration.ts";
import { AGENT, type Machine, bootMachine, missing } from "../support/systemd.ts";

setDefaultTimeout(minutes(2));

const DOWNLOADED = "/usr/src/noderax-agent";
/** polkit lets this user do everything, as it lets an administrator who has typed the password. */
const RULE =
  'polkit.addRule(function (action, subject) { if (subject.user == "ops") return polkit.Result.YES; });';

describe.skipIf(missing !== undefined)(
  `install.sh with run0${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let machine: Machine;

    beforeAll(async () => {
      machine = await bootMachine("systemd with run0");
      await machine.sh(`mv ${AGENT} ${DOWNLOADED} && rmdir /opt/noderax-agent && useradd --create-home ops`);
      await machine.write("/etc/polkit-1/rules.d/50-ops.rules", RULE);
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

    const script = (): Promise<string> => Bun.file(join(import.meta.dir, "../../install.sh")).text();
    const asOps = ["setpriv", "--reuid=ops", "--regid=ops", "--init-groups", "env", "HOME=/home/ops"];

    test("makes a node, for a user with neither sudo nor doas", async () => {
      expect(await machine.sh("! command -v sudo doas && command -v run0")).toBe("/usr/bin/run0");
      const { token } = JSON.parse(
        await machine.run([DOWNLOADED, "sandbox", "install-token", "web", "--json"]),
      ) as { token: string };
      const flags = [
        "--binary",
        DOWNLOADED,
        "--api-url",
        "http://127.0.0.1:8080",
        "--bootstrap-token",
        token,
      ];
      const made = await machine.run([...asOps, "sh", "-s", "--", ...flags], await script());
      expect(made).toContain("runs as a service and is online");
      expect(await machine.sh("stat -c '%U %a' /opt/noderax-agent/noderax-agent; ls -A /opt")).toBe(
        "root 755\nnoderax-agent",
      );
      const nodes = JSON.parse(await machine.run([DOWNLOADED, "sandbox", "nodes", "--json"])) as {
        hostname: string;
      }[];
      const task = await machine.run([DOWNLOADED, "sandbox", "task", nodes[0]?.hostname ?? "", "id -un"]);
      expect(task).toStartWith("noderax\n");
    });

    test("its unit is taken without a warning there, with an exposure of at most 2.5", async () => {
      const verify = "systemd-analyze verify /etc/systemd/system/noderax-agent.service 2>&1";
      expect(await machine.sh(verify)).toBe("");
      await machine.sh("systemd-analyze security --threshold=25 noderax-agent >/dev/null");
    });

    test("removes the node", async () => {
      await machine.run([...asOps, "sh", "-s", "--", "--uninstall", "--purge"], await script());
      expect(await machine.sh("ls -d /opt/noderax-agent /etc/noderax-agent 2>&1 || true")).not.toMatch(
        /^\//m,
      );
    });
  },
);
