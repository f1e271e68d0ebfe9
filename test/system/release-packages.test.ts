// Promises of the Debian package: nothing started that was never set up, data kept until purged.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildDeb } from "../../.ci/release/deb.ts";
import { packageFiles } from "../../.ci/release/files.ts";
import type { Release } from "../../.ci/release/release.ts";
import { minutes } from "../../src/lib/duration.ts";
import { binary } from "../support/binary.ts";
import { AGENT, type Machine, bootMachine, missing as withoutMachine } from "../support/systemd.ts";

setDefaultTimeout(minutes(2));

let directory: string;
beforeAll(() => void (directory = mkdtempSync(join(tmpdir(), "noderax-release-"))));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const lacking = withoutMachine ?? (Bun.which("dpkg-deb") === null ? "dpkg-deb" : undefined);

describe.skipIf(lacking !== undefined)(
  `the Debian package under systemd${lacking === undefined ? "" : ` (needs ${lacking})`}`,
  () => {
    const LIST =
      "find /etc /opt /usr /var/lib -xdev \\( -path /var/lib/dpkg -o -path /var/lib/sandbox -o -path /var/lib/systemd -o -path /usr/src \\) -prune " +
      "-o ! -name '*-' ! -name .pwd.lock -printf '%p %m %u %y\\n' | sort; cat /etc/passwd /etc/group";
    const CONTROL = "/usr/src/noderax-agent";
    const PACKAGE = "/usr/src/noderax-agent.deb";
    let machine: Machine;
    let before: string;

    beforeAll(async () => {
      const release: Release = {
        version: "0.1.0",
        commit: "test",
        directory,
        place: "",
        seconds: 1_700_000_000,
      };
      const deb = join(
        directory,
        buildDeb(release, process.arch === "arm64" ? "arm64" : "x64", packageFiles(binary)),
      );
      machine = await bootMachine();
      await machine.copy(deb, PACKAGE);
      await machine.sh(`mv ${AGENT} ${CONTROL} && rmdir /opt/noderax-agent`);
      await machine.write(
        "/etc/systemd/system/sandbox.service",
        `[Service]\nExecStart=${CONTROL} sandbox --json --port 8080 --data /var/lib/sandbox\n`,
      );
      await machine.sh("systemctl start sandbox");
      await machine.until(`${CONTROL} sandbox nodes`);
      before = await machine.sh(LIST);
    }, minutes(4));

    afterAll(async () => {
      await machine?.[Symbol.asyncDispose]();
    });

    const control = (...args: string[]): Promise<string> => machine.run([CONTROL, ...args]);
    const attempt = (command: string): Promise<string> => machine.sh(`{ ${command}; } 2>&1; echo "exit $?"`);
    const pid = (): Promise<string> => machine.sh("systemctl show --property=MainPID --value noderax-agent");

    test("lays down the files, and neither enrolls nor starts", async () => {
      expect(await machine.sh(`dpkg -i ${PACKAGE} 2>&1`)).toContain("noderax-agent install --api-url URL");
      expect(await machine.sh("noderax-agent --version; readlink -f $(command -v noderax-agent)")).toContain(
        AGENT,
      );
      expect(await attempt("systemctl is-active noderax-agent")).toStartWith("inactive");
      expect(await machine.sh("ls /etc /var/lib")).not.toContain("noderax");
    });

    test("its executable sets the machine up, and takes none of the package's files for its own", async () => {
      const { token } = JSON.parse(await control("sandbox", "install-token", "web", "--json")) as {
        token: string;
      };
      await machine.write("/root/token", token);
      const flags =
        "--api-url=http://127.0.0.1:8080 --hostname=web --bootstrap-token-file=/root/token --non-interactive " +
        // A server gives a task also to the claim of an agent that was stopped, and to the next after a minute. Claims
        // of a second are over before the test goes on.
        "--task-poll-interval=1s";
      expect(await attempt(`${CONTROL} install ${flags}`)).toMatch(/is installed by dpkg[^]*exit 5$/);
      expect(await machine.sh(`noderax-agent install ${flags}`)).toContain("runs as a service");
      expect(await control("sandbox", "task", "web", "id -un")).toStartWith("noderax\n");
      expect(await machine.sh("cat /var/lib/noderax-agent/install.json")).not.toMatch(
        /"\/opt|"\/usr|systemd/,
      );
      expect(await machine.sh("dpkg --verify noderax-agent; ls /etc/systemd/system")).not.toContain(
        "noderax-agent.service\n",
      );
      expect(await machine.sh("noderax-agent install")).toContain("nothing has changed");
    });

    test("uninstall says who removes it", async () => {
      expect(await attempt("noderax-agent uninstall --purge")).toMatch(
        /installed by dpkg\n +Remove it with: {2}apt remove noderax-agent\nexit 5$/,
      );
    });

    test("an upgrade restarts the agent", async () => {
      const running = await pid();
      await machine.sh(`dpkg -i ${PACKAGE} 2>&1`);
      await machine.until("noderax-agent status");
      expect(await pid()).not.toBe(running);
    });

    test("a state directory of the owner's choice is open to the service, with the package's unit as it is", async () => {
      const elsewhere = "/srv/agent/agent_identity.json";
      const { node_id: before } = JSON.parse(
        await machine.sh("cat /var/lib/noderax-agent/agent_identity.json"),
      ) as { node_id: string };
      // What `config set state_file` says is to be done.
      const refused = await attempt(`noderax-agent config set state_file ${elsewhere} --restart`);
      expect(refused).toMatch(/exit 5$/);
      const commands = refused.split("\n").filter((line) => /^ +(noderax-agent|mkdir) /.test(line));
      expect(commands).toHaveLength(3);
      await machine.sh(commands.join(" && "));
      expect(await machine.sh("noderax-agent status")).toContain(before);
      expect(await machine.sh("noderax-agent config show")).toContain(elsewhere);
      await machine.sh(
        "rm /var/lib/noderax-agent/state.db* && noderax-agent restart && ls /srv/agent/state.db",
      );
      expect(await control("sandbox", "task", "web", "echo elsewhere")).toContain("elsewhere");
      expect(await attempt("ls /var/lib/noderax-agent/state.db")).toContain("No such file");
      expect(await machine.sh("dpkg --verify noderax-agent; ls /etc/systemd/system")).not.toContain(
        "noderax-agent.service",
      );
      // An upgrade keeps it; the way back leaves a drop-in that changes nothing.
      await machine.sh(`dpkg -i ${PACKAGE} 2>&1`);
      await machine.until("noderax-agent status");
      await machine.sh(
        "noderax-agent stop && cp -a /srv/agent/. /var/lib/noderax-agent/ && rm -r /srv/agent && " +
          "noderax-agent install --state-file /var/lib/noderax-agent/agent_identity.json",
      );
      expect(await machine.sh("noderax-agent status")).toContain(before);
      expect(
        await machine.sh("systemctl show --property=ReadWritePaths --value noderax-agent"),
      ).not.toContain("/srv");
    });

    test("a removal stops it and keeps the data, with which the next installation goes on", async () => {
      await machine.sh("dpkg -r noderax-agent 2>&1");
      expect(await attempt("systemctl is-active noderax-agent")).toStartWith("inactive");
      expect(await machine.sh("ls /opt /usr/bin")).not.toContain("noderax-agent");
      await machine.sh(`test -s /var/lib/noderax-agent/agent_identity.json && dpkg -i ${PACKAGE} 2>&1`);
      await machine.until("noderax-agent status");
      expect(await control("sandbox", "task", "web", "echo again")).toContain("again");
    });

    test("takes the place of what install made, of its completions and manual page too", async () => {
      await machine.sh("dpkg -r noderax-agent 2>&1");
      await machine.sh(`${CONTROL} install --non-interactive`);
      await machine.sh(`dpkg -i ${PACKAGE} 2>&1; ! test -e /etc/systemd/system/noderax-agent.service`);
      await machine.until("noderax-agent status");
      expect(await machine.sh("systemctl show --property=FragmentPath --value noderax-agent")).toMatch(
        /^(\/usr)?\/lib\/systemd\/system\/noderax-agent.service$/,
      );
    });

    test("a purge leaves the machine as it was", async () => {
      await machine.sh("dpkg -P noderax-agent 2>&1");
      expect(await machine.sh(LIST)).toBe(before);
    });
  },
);
