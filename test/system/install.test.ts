// Promises of `install` on a machine run by systemd: from a bare executable to a node that comes back after a reboot, and back.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { minutes } from "../../src/lib/duration.ts";
import { AGENT, type Machine, bootMachine, missing } from "../support/systemd.ts";

setDefaultTimeout(minutes(2));

/** As somebody who has just downloaded it. */
const DOWNLOADED = "/root/noderax-agent";
/** What an installation may not change: everything but logs, caches of the user database, and the sandbox. */
const LIST =
  "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /dev -o -path /root -o -path /var/log -o -path /var/tmp " +
  "-o -path /var/lib/sandbox -o -path /var/lib/systemd \\) -prune -o ! -name '*-' ! -name .pwd.lock -printf '%p %m %u %y\\n' | sort; " +
  "cat /etc/passwd /etc/group";

describe.skipIf(missing !== undefined)(
  `install under systemd${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let machine: Machine;
    let before: string;

    beforeAll(async () => {
      machine = await bootMachine();
      await machine.sh(`mv ${AGENT} ${DOWNLOADED} && rmdir ${AGENT.slice(0, AGENT.lastIndexOf("/"))}`);
      await machine.write(
        "/etc/systemd/system/sandbox.service",
        `[Service]\nExecStart=${DOWNLOADED} sandbox --json --port 8080 --data /var/lib/sandbox\n[Install]\nWantedBy=multi-user.target\n`,
      );
      await machine.sh("systemctl enable --quiet --now sandbox");
      await machine.until(`${DOWNLOADED} sandbox nodes`);
      before = await machine.sh(LIST);
    }, minutes(10));

    afterAll(async () => {
      await machine?.[Symbol.asyncDispose]();
    });

    const agent = (...args: string[]): Promise<string> => machine.run([DOWNLOADED, ...args]);
    /** With what it exits, and all it prints. */
    const attempt = async (command: string): Promise<{ code: number; text: string }> => {
      const text = await machine.sh(`{ ${command}; } 2>&1; echo "exit $?"`);
      return { code: Number(/exit (\d+)$/.exec(text)?.[1]), text };
    };
    const pid = (): Promise<string> => machine.sh("systemctl show --property=MainPID --value noderax-agent");
    const token = async (name: string): Promise<string> =>
      (JSON.parse(await agent("sandbox", "install-token", name, "--json")) as { token: string }).token;
    const runTask = async (node: string, command: string): Promise<string> =>
      agent("sandbox", "task", node, command);

    /** What the sandbox's operator sees of the installation of a node: status, stage, percentage and message. */
    const installRecord = async (name: string): Promise<string> => {
      const script = `
        const { url, operator_token } = (await Bun.file(process.argv.at(-1)).json()).document;
        const headers = { authorization: "Bearer " + operator_token };
        const records = await (await fetch(url + "/sandbox/v1/node-installs", { headers })).json();
        const of = records.find(({ node_name }) => node_name === "${name}");
        console.log(of.status, of.stage, of.progress_percent, of.status_message);`;
      return machine.sh(`BUN_BE_BUN=1 ${DOWNLOADED} -e '${script}' /run/noderax-0/sandbox-*.json`);
    };

    test("leaves nothing behind where the enrollment fails", async () => {
      const { code, text } = await attempt(
        `echo wrong-token-of-nobody | ${DOWNLOADED} install --api-url http://127.0.0.1:8080 --bootstrap-token - --non-interactive`,
      );
      expect(text).toContain("does not know this bootstrap token");
      expect(code).toBe(5);
      expect(await machine.sh(LIST)).toBe(before);
    });

    test("begins nothing where an answer is wrong, and plans nothing that it could not do", async () => {
      const install = `${DOWNLOADED} install --non-interactive --api-url=http://127.0.0.1:8080`;
      for (const dry of ["", " --dry-run"]) {
        const wrong = await attempt(`${install} --email=nobody${dry}`);
        expect(wrong.text).toBe('error: --email: "nobody" is not an e-mail address\nexit 2');
        const missing = await attempt(`${install}${dry}`);
        expect(missing.text).toStartWith("error: an enrollment needs --email, --bootstrap-token-file");
        expect(missing.text).toContain("noderax-agent install --help");
      }
    });

    test("gives what it makes the SELinux label of its place, where restorecon is", async () => {
      // Records what is labelled, and that it lies in its place by then.
      await machine.write("/usr/sbin/restorecon", '#!/bin/sh\n[ -e "$1" ] && echo "$1" >>/root/labelled\n');
      await machine.sh("chmod 755 /usr/sbin/restorecon");
      await agent("install", "--non-interactive", "--server-url=http://127.0.0.1:8080", "--no-start");
      const labelled = (await machine.sh("cat /root/labelled")).split("\n");
      for (const path of [
        "/opt/noderax-agent",
        "/opt/noderax-agent/noderax-agent",
        "/etc/noderax-agent",
        "/etc/systemd/system/noderax-agent.service",
      ])
        expect(labelled).toContain(path);
      await agent("uninstall", "--purge");
      await machine.sh("rm /usr/sbin/restorecon");
      expect(await machine.sh(LIST)).toBe(before);
    });

    test("tells the install record why it failed", async () => {
      const other =
        "--api-url=http://127.0.0.1:8080 --config=/root/other.json --state-file=/root/other/id.json";
      await machine.run(
        ["sh", "-c", `${DOWNLOADED} enroll --hostname=taken --bootstrap-token=- ${other}`],
        await token("other"),
      );
      await machine.write("/root/token", await token("refused"));
      const { code } = await attempt(
        `${DOWNLOADED} install --hostname=taken --api-url=http://127.0.0.1:8080 --bootstrap-token-file=/root/token`,
      );
      expect(code).toBe(5);
      expect(await installRecord("refused")).toBe(
        "failed failed 88 a node with the hostname taken exists already",
      );
      expect(await machine.sh(LIST)).toBe(before);
    });

    test("brings a machine from an executable to a node with one command, and completes its install record", async () => {
      await machine.write("/root/token", await token("web"));
      await agent(
        "install",
        "--api-url=http://127.0.0.1:8080",
        "--hostname=web",
        "--bootstrap-token-file=/root/token",
        "--non-interactive",
      );
      const status = await machine.sh("noderax-agent status");
      expect(status).toMatch(/service +active since .*, enabled, 0 restarts/);
      expect(status).toContain("accepted");
      expect(await machine.sh("stat -c '%U %a' /opt/noderax-agent /etc/noderax-agent/config.json")).toBe(
        "root 755\nroot 600",
      );
      await machine.until(
        `grep -q . /var/lib/noderax-agent/agent_identity.json && ! ls /var/lib/noderax-agent/open_install.json`,
      );
      expect(await installRecord("web")).toBe("completed service_started 100 The agent runs.");
      expect(await runTask("web", "id -un; pwd")).toStartWith("noderax\n/var/lib/noderax\n");
    });

    test("puts completion and manual page where bash and man look for them", async () => {
      const loaded = await machine.sh(
        "bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader noderax-agent; complete -p noderax-agent'",
      );
      expect(loaded).toBe("complete -F _noderax_agent noderax-agent");
      expect(await machine.sh("realpath $(man -w noderax-agent)")).toBe(
        "/usr/local/share/man/man8/noderax-agent.8",
      );
      // Nobody reads them as zsh or fish.
      expect(await machine.sh("ls /usr/local/share")).not.toMatch(/zsh|fish/);
    });

    test("is a unit that systemd takes without a warning, with an exposure of at most 2.5", async () => {
      expect((await attempt("systemd-analyze verify /etc/systemd/system/noderax-agent.service")).text).toBe(
        "exit 0",
      );
      await machine.sh("systemd-analyze security --threshold=25 noderax-agent >/dev/null");
    });

    test("changes nothing and restarts nothing when it runs again", async () => {
      const running = await pid();
      expect((await attempt("noderax-agent install --dry-run")).text).toBe("nothing would change\nexit 0");
      expect(await machine.sh("noderax-agent install")).toContain("nothing has changed");
      const again =
        "noderax-agent install --non-interactive --api-url http://127.0.0.1:8080 --bootstrap-token-file /root/token";
      expect(await machine.sh(again)).toContain("nothing has changed");
      expect(await pid()).toBe(running);
    });

    test("comes back after a reboot", async () => {
      await machine.reboot();
      await machine.until("noderax-agent status");
      expect(await runTask("web", "echo again")).toContain("again");
    });

    test("start, stop, restart and status say what is true, and a setting applies with --restart", async () => {
      const first = await pid();
      await machine.sh("noderax-agent stop");
      const stopped = await attempt("noderax-agent status");
      expect(stopped.text).toMatch(/inactive since .*, enabled/);
      expect(stopped.text).toContain("Start it:  noderax-agent start");
      expect(stopped.code).toBe(1);
      expect(await machine.sh("noderax-agent stop")).toBe("the agent does not run");
      await machine.sh("noderax-agent start");
      const second = await pid();
      expect(second).not.toBe(first);
      expect((await attempt("noderax-agent start")).text).toContain("runs already");
      expect(await pid()).toBe(second);
      await machine.sh("cd /tmp && noderax-agent config set task_timeout 30s --restart");
      expect(await machine.sh("cat /etc/noderax-agent/config.json")).toContain('"task_timeout": "30s"');
      expect(await pid()).not.toBe(second);
      expect(await machine.sh("noderax-agent logs --agent --tail 20")).toContain("online");
    });

    test("the state directory is not exchanged below the service: config set says how to move it", async () => {
      const file = "/var/lib/noderax-agent/agent_identity.json";
      const running = await pid();
      const { code, text } = await attempt("noderax-agent config set state_file /srv/a/id.json --restart");
      expect(text).toContain("noderax-agent install --state-file /srv/a/id.json");
      expect(code).toBe(5);
      expect(await machine.sh("cat /etc/noderax-agent/config.json")).toContain(file);
      expect(await pid()).toBe(running);
      // The same place in other words.
      await machine.sh(`cd /var/lib && noderax-agent config set state_file ${file}`);
    });

    test("another user sees how the service is, and is told who sees the rest", async () => {
      const { code, text } = await attempt("setpriv --reuid=65534 --clear-groups noderax-agent status");
      expect(text).toMatch(/service +active since/);
      expect(text).toContain("shown to root");
      expect(code).toBe(0);
      const stop = await attempt("setpriv --reuid=65534 --clear-groups noderax-agent stop");
      expect(stop.text).toMatch(/^error: systemctl stop .*: Access denied\n {2}Run it with sudo\.\nexit 5$/);
      const log = await attempt("setpriv --reuid=65534 --clear-groups noderax-agent logs --agent");
      expect(log.text).toContain("sudo noderax-agent logs --agent");
      expect(log.code).toBe(5);
    });

    test("the watchdog restarts an agent that hangs, and not one whose server is away", async () => {
      await machine.write(
        "/etc/systemd/system/noderax-agent.service.d/test.conf",
        "[Service]\nWatchdogSec=3s\nRestartSec=100ms\n",
      );
      await machine.sh(
        "systemctl daemon-reload && systemctl stop sandbox && systemctl restart noderax-agent",
      );
      const running = await pid();
      const heard = "systemctl show --property=WatchdogTimestampMonotonic --value noderax-agent";
      const limit = Number(await machine.sh(heard)) + 4_000_000;
      await machine.until(`[ "$(${heard})" -gt ${limit} ]`);
      expect(await pid()).toBe(running);
      await machine.sh(`systemctl start sandbox; kill -STOP ${running}`);
      await machine.until(
        `p=$(systemctl show --property=MainPID --value noderax-agent); [ "$p" != 0 ] && [ "$p" != ${running} ]`,
      );
      expect(await machine.sh("systemctl show --property=NRestarts --value noderax-agent")).toBe("1");
    });

    test("uninstall keeps data, and with --purge leaves the machine as it was", async () => {
      const kept = await attempt("noderax-agent uninstall");
      expect(kept.text).toContain("kept /var/lib/noderax-agent: data");
      expect(await machine.sh("ls /opt /usr/local/bin")).not.toContain("noderax-agent");
      expect(await machine.sh("cat /var/lib/noderax-agent/agent_identity.json")).toContain("node_id");
      await agent("uninstall", "--purge");
      expect(await machine.sh(LIST)).toBe(before);
    });

    test("heals an installation that was killed in the middle, and its removal is exact all the same", async () => {
      const program = "/opt/noderax-agent/noderax-agent";
      const { text } = await attempt(
        `${DOWNLOADED} install --non-interactive --api-url=http://127.0.0.1:8080 --hostname=killed --email=ops@example.com & ` +
          `until [ -e ${program}.new ] || [ -e ${program} ]; do :; done; kill -9 $!; wait $!`,
      );
      expect(text).toEndWith("exit 137");
      await machine.write("/root/token", await token("killed"));
      await agent(
        "install",
        "--non-interactive",
        "--hostname=killed",
        "--bootstrap-token-file=/root/token",
        "--api-url=http://127.0.0.1:8080",
      );
      expect(await runTask("killed", "id -un")).toStartWith("noderax\n");
      await agent("uninstall", "--purge");
      expect(await machine.sh(LIST)).toBe(before);
    });

    test("leaves the install record open for an agent that starts late, which completes it", async () => {
      const dropIn = "/etc/systemd/system/noderax-agent.service.d/late.conf";
      await machine.write(dropIn, "[Service]\nExecStartPre=/bin/false\n");
      await machine.write("/root/token", await token("late"));
      const { code, text } = await attempt(
        `${DOWNLOADED} install --non-interactive --hostname=late --bootstrap-token-file=/root/token --api-url=http://127.0.0.1:8080`,
      );
      expect(text).toContain("installed and started, but");
      expect(code).toBe(6);
      expect(await installRecord("late")).toStartWith("installing agent_enrolled 95 ");
      await machine.sh(`rm ${dropIn} && systemctl daemon-reload && noderax-agent start`);
      await machine.until("! ls /var/lib/noderax-agent/open_install.json");
      expect(await installRecord("late")).toBe("completed service_started 100 The agent runs.");
      await agent("uninstall", "--purge");
      expect(await machine.sh(LIST)).toBe(before);
    });

    test("an installation that is interrupted after its enrollment is completed by the next one", async () => {
      await machine.write("/root/token", await token("cut"));
      const { code } = await attempt(
        `s=$(systemctl show --property=MainPID --value sandbox); ` +
          `${DOWNLOADED} install --non-interactive --hostname=cut --bootstrap-token-file=/root/token --api-url=http://127.0.0.1:8080 & ` +
          `until [ -e /var/lib/noderax-agent/open_install.json ]; do :; done; ` +
          // Its control plane falls silent: the agent that is started now does not get well.
          `kill -STOP $s; until systemctl is-active noderax-agent; do sleep 0.1; done; ` +
          `kill -INT $!; wait $!; code=$?; kill -CONT $s; (exit $code)`,
      );
      expect(code).toBe(130);
      expect(await installRecord("cut")).toMatch(
        /^installing (bootstrap_token_consumed 92|agent_enrolled 95) /,
      );
      await agent("install", "--non-interactive", "--api-url=http://127.0.0.1:8080");
      await machine.until("! ls /var/lib/noderax-agent/open_install.json");
      expect(await installRecord("cut")).toBe("completed service_started 100 The agent runs.");
      await agent("uninstall", "--purge");
      expect(await machine.sh(LIST)).toBe(before);
    });

    test("waits for an operator's approval, and goes on by itself to a node that works", async () => {
      await machine.sh(
        `{ ${DOWNLOADED} install --api-url=http://127.0.0.1:8080 --email=ops@example.com --hostname=asked; echo "exit $?"; } >/root/out 2>&1 &`,
      );
      await machine.until("grep -q '^  Token ' /root/out");
      expect((await attempt("systemctl is-active noderax-agent")).text).toStartWith("inactive");
      await agent(
        "sandbox",
        "approve",
        await machine.sh("sed -n 's/^  Token  *\\([^ ]*\\).*/\\1/p' /root/out"),
      );
      await machine.until("grep -q '^exit' /root/out");
      expect(await machine.sh("cat /root/out")).toMatch(/runs as a service and is online at .*[^]*exit 0$/);
      expect(await runTask("asked", "id -un")).toStartWith("noderax\n");
      await agent("uninstall", "--purge");
      expect(await machine.sh(LIST)).toBe(before);
    });

    test("install.sh, piped to a shell as the web application's command has it, makes a node and removes it", async () => {
      const script = await Bun.file(join(import.meta.dir, "../../install.sh")).text();
      const piped = async (...args: string[]): Promise<string> =>
        machine.run(["env", ...proxy, "bash", "-s", "--", "--binary", DOWNLOADED, ...args], script);
      const proxy = ["HTTPS_PROXY=http://user:secret@proxy.invalid:3128", "NO_PROXY=127.0.0.1"];
      const enroll = ["--api-url", "http://127.0.0.1:8080", "--bootstrap-token", await token("piped")];
      // Somebody's own: a root agent would not trust it there.
      await machine.write("/tmp/ca.pem", rootCertificates[0] ?? "");
      await machine.sh("chown 65534 /tmp/ca.pem");
      enroll.push("--ca-file", "/tmp/ca.pem");
      // As on systems whose /usr is read-only: the agent goes without its link.
      await machine.sh("mount --bind /usr/local/bin /usr/local/bin; mount -o remount,bind,ro /usr/local/bin");
      try {
        expect(await piped(...enroll, "--dry-run")).toContain("copy the program");
        expect(await machine.sh(LIST)).toBe(before);
        expect(await piped(...enroll)).toContain("runs as a service and is online");
        expect(await runTask("piped", "id -un")).toStartWith("noderax\n");
        const running = await pid();
        expect(await machine.sh(`tr '\\0' '\\n' </proc/${running}/environ`)).toContain(proxy.join("\n"));
        expect(await machine.sh("stat -c %a /etc/noderax-agent/proxy.env")).toBe("600");
        expect(await machine.sh("/opt/noderax-agent/noderax-agent config show")).toMatch(
          /api_tls_ca_file +\/etc\/noderax-agent\/ca.pem/,
        );
        expect(await piped(...enroll)).toContain("nothing has changed");
        expect(await pid()).toBe(running);
        await piped("--uninstall");
        await piped("--uninstall", "--purge");
      } finally {
        await machine.sh("umount /usr/local/bin");
      }
      expect(await machine.sh(LIST)).toBe(before);
    });

    test("over a cara-agent: puts everything back, and that agent runs again, when the new one does not start", async () => {
      const unit = "/etc/systemd/system/cara-agent.service";
      const settings = "server_url: http://127.0.0.1:8080\nnode_name: box\n";
      await machine.write("/etc/cara-agent/config.yaml", settings);
      await machine.write(
        unit,
        "[Service]\nExecStart=/bin/sleep 1000000\n[Install]\nWantedBy=multi-user.target\n",
      );
      await machine.sh("systemctl daemon-reload && systemctl enable --quiet --now cara-agent");
      const dropIn = "/etc/systemd/system/noderax-agent.service.d";
      await machine.write(`${dropIn}/test.conf`, "[Service]\nExecStartPre=/bin/false\n");
      const found = await machine.sh(LIST);
      const { code, text } = await attempt(
        `${DOWNLOADED} install --config=/etc/cara-agent/config.yaml --non-interactive`,
      );
      expect(text).toContain("stopped and disabled cara-agent.service");
      expect(text).toContain("What ran before runs again");
      expect(code).toBe(1);
      expect(await machine.sh("systemctl is-active cara-agent; systemctl is-enabled cara-agent")).toBe(
        "active\nenabled",
      );
      expect((await attempt("systemctl is-active noderax-agent")).text).not.toStartWith("active");
      expect(await machine.sh("cat /etc/cara-agent/config.yaml")).toBe(settings.trim());
      expect(await machine.sh(LIST)).toBe(found);
      await machine.sh(
        `systemctl disable --quiet --now cara-agent; rm -r ${unit} ${dropIn} /etc/cara-agent; systemctl daemon-reload`,
      );
      expect(await machine.sh(LIST)).toBe(before);
    });

    describe("over a Go agent's installation", () => {
      const old = "#!/bin/sh\nexec sleep 1000000\n";
      /** What the Go agent's installer makes; the configuration holds credentials that are stale. */
      const layGoAgent = async (): Promise<void> => {
        await machine.sh(
          "useradd --system --user-group --create-home --home-dir /var/lib/noderax-agent --shell /usr/sbin/nologin noderax",
        );
        await machine.run(
          [
            DOWNLOADED,
            "enroll",
            "--hostname=go",
            "--api-url=http://127.0.0.1:8080",
            "--bootstrap-token=-",
            "--config=/etc/noderax-agent/config.json",
            "--state-file=/var/lib/noderax-agent/agent_identity.json",
          ],
          await token("go"),
        );
        for (const [key, value] of [
          ["node_id", "stale"],
          ["agent_token", "stale-token"],
        ] as const)
          await agent("config", "set", "--config=/etc/noderax-agent/config.json", key, value);
        await machine.write(AGENT, old);
        await machine.write("/var/lib/noderax-agent/root_access_state.json", "{}");
        await machine.write(
          "/etc/sudoers.d/noderax-agent",
          "noderax ALL=(root) NOPASSWD: /usr/local/libexec/noderax-agent-self-update\n",
        );
        await machine.write("/usr/local/libexec/noderax-agent-self-update", "#!/bin/sh\n");
        await machine.write(
          "/etc/systemd/system/noderax-agent.service",
          `[Service]\nUser=noderax\nEnvironment=NODERAX_CONFIG_FILE=/etc/noderax-agent/config.json\nExecStart=${AGENT}\nRestart=always\n[Install]\nWantedBy=multi-user.target\n`,
        );
        await machine.sh(
          `rm -f /var/lib/noderax-agent/open_install.json; chmod 755 ${AGENT}; ln -s ${AGENT} /usr/local/bin/noderax-agent;` +
            "chmod 440 /etc/sudoers.d/noderax-agent; chown -R noderax: /opt/noderax-agent /etc/noderax-agent /var/lib/noderax-agent;" +
            "systemctl daemon-reload && systemctl enable --quiet --now noderax-agent",
        );
      };
      const owners = (): Promise<string> =>
        machine.sh(
          "stat -c '%n %U' /opt/noderax-agent /etc/noderax-agent/config.json /var/lib/noderax-agent /var/lib/noderax-agent/agent_identity.json",
        );
      const mainUser = async (): Promise<string> =>
        machine.sh(`ps -o user= -p ${await pid()} 2>/dev/null || stat -c %U /proc/${await pid()}`);

      test("puts everything back, and the old service runs again, when the new one does not start", async () => {
        await layGoAgent();
        const owned = await owners();
        await machine.write(
          "/etc/systemd/system/noderax-agent.service.d/test.conf",
          "[Service]\nExecStartPre=/bin/sh -c '! grep -q Type=notify /etc/systemd/system/noderax-agent.service'\n",
        );
        const { code, text } = await attempt(`${DOWNLOADED} install --non-interactive`);
        expect(text).toContain("What ran before runs again");
        expect(code).toBe(1);
        expect(await machine.sh("systemctl is-active noderax-agent")).toBe("active");
        expect(await mainUser()).toBe("noderax");
        expect(await machine.sh(`cat ${AGENT}`)).toBe(old.trim());
        expect(await owners()).toBe(owned);
        await machine.sh(
          "test -f /etc/sudoers.d/noderax-agent && test -f /usr/local/libexec/noderax-agent-self-update",
        );
        expect(await machine.sh("ls -A /opt/noderax-agent; getent passwd noderax")).toMatch(
          /^noderax-agent\nnoderax:.*:\/var\/lib\/noderax-agent:/,
        );
        await machine.sh("rm -r /etc/systemd/system/noderax-agent.service.d && systemctl daemon-reload");
      });

      test("keeps the identity that is accepted, and ends what gave its tasks root", async () => {
        const before = await machine.sh("cat /var/lib/noderax-agent/agent_identity.json");
        const { node_id: nodeId } = JSON.parse(before) as { node_id: string };
        const { text } = await attempt(`${DOWNLOADED} install --non-interactive`);
        expect(text).toContain(`that of node ${nodeId} is kept`);
        expect(text).toEndWith("exit 0");
        expect(await mainUser()).toBe("root");
        expect((await owners()).match(/ root$/gm)).toHaveLength(4);
        expect(await machine.sh("cat /etc/noderax-agent/config.json")).not.toContain("stale");
        expect(
          (
            await attempt(
              "ls /etc/sudoers.d/noderax-agent /usr/local/libexec/* /opt/noderax-agent/*.previous",
            )
          ).text,
        ).not.toMatch(/^\/(etc|usr|opt)\S+$/m);
        expect(await machine.sh("noderax-agent status")).toContain(nodeId);
        expect(await runTask("go", "pwd; id -un")).toStartWith("/var/lib/noderax\nnoderax\n");
      });

      test("takes the settings of a cara-agent, stops its service, and works on both planes", async () => {
        await machine.write("/root/config.yaml", "server_url: http://127.0.0.1:8080\nnode_name: box\n");
        await machine.write(
          "/etc/systemd/system/cara-agent.service",
          "[Service]\nExecStart=/bin/sleep 1000000\n",
        );
        await machine.sh("systemctl daemon-reload && systemctl start cara-agent");
        expect(await agent("install", "--config=/root/config.yaml", "--non-interactive")).toContain(
          "online at http://127.0.0.1:8080 and http://127.0.0.1:8080",
        );
        expect((await attempt("systemctl is-active cara-agent")).text).toStartWith("inactive");
        expect(await machine.sh("cat /etc/noderax-agent/config.json")).toContain('"node_name": "box"');
      });

      test("gives a terminal the machine's files, and the umask of a login, under the sandbox of the unit", async () => {
        const typed = "id -un; umask; touch /tmp/from-terminal; exit\n";
        const text = await machine.run([DOWNLOADED, "sandbox", "terminal", "go"], typed);
        expect(text).toMatch(/^noderax\r?\n0022\r?$/m);
        expect(await machine.sh("stat -c %U /tmp/from-terminal")).toBe("noderax");
      });

      test("a call of an old helper is refused with what to do", async () => {
        for (const call of ["update --request-file /var/lib/x", "log-scan --request /var/lib/x"]) {
          const { code, text } = await attempt(`${DOWNLOADED} ${call}`);
          expect(text).toContain("noderax-agent install");
          expect(code).toBe(5);
        }
      });
    });
  },
);
