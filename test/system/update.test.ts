// Promises of updates on a machine run by systemd: exchanged, watched, rolled back; tasks go on, and the node always works.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { isFinal } from "../../src/protocol/noderax/tasks.ts";
import { SignedPlace } from "../support/signed-place.ts";
import { AGENT, type Machine, bootMachine, missing } from "../support/systemd.ts";

// A watch alone takes half a minute, one of an executable that hangs a whole one.
setDefaultTimeout(minutes(4));

const root = join(import.meta.dir, "../..");

/** An executable of this tree that says it is another version, and trusts the place of this test. */
function build(directory: string, version: string, rootKey: string): Buffer {
  const out = join(directory, version, "noderax-agent");
  const { success, stderr } = Bun.spawnSync(
    [join(root, "node_modules/.bin/bun"), ".ci/build.ts", `--out=${out}`, `--version=${version}`],
    { cwd: root, env: { ...process.env, NODERAX_ROOT_KEYS: rootKey }, stdin: "ignore" },
  );
  if (!success) throw new Error(stderr.toString());
  return readFileSync(out);
}

/** A release whose probe is fine, and which then does something else than an agent. */
const impostor = (version: string, run: string, selfTest = "exit 0"): Buffer =>
  Buffer.from(
    `#!/bin/sh\ncase "$1" in\n--version) echo "noderax-agent ${version} (test)"; exit ;;\nself-test) ${selfTest} ;;\nesac\n${run}\n`,
  );

interface Target {
  readonly status: string;
  readonly progress_percent: number;
  readonly message: string | null;
}

interface RecordSeen {
  readonly attempt: {
    readonly phase: string;
    readonly outcome?: string;
    readonly reason?: string;
    readonly to: string;
    readonly startedAt: string;
    readonly changedAt: string;
  };
}

describe.skipIf(missing !== undefined)(
  `updates under systemd${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let machine: Machine;
    const directory = mkdtempSync(join(tmpdir(), "noderax-update-"));
    const place = new SignedPlace(join(directory, "releases"));

    beforeAll(async () => {
      const versions = ["0.1.0", "0.2.0"].map((version) => build(directory, version, place.root.raw));
      machine = await bootMachine();
      await machine.sh(`rm -rf ${AGENT.slice(0, AGENT.lastIndexOf("/"))} && mkdir -p /srv/releases`);
      await machine.copy(join(directory, "0.1.0/noderax-agent"), "/root/noderax-agent");
      place.publish("0.1.0", versions[0] ?? Buffer.alloc(0));
      place.publish("0.2.0", versions[1] ?? Buffer.alloc(0));
      await publish();
      await machine.write(
        "/etc/systemd/system/sandbox.service",
        "[Unit]\nBefore=noderax-agent.service\n[Service]\nExecStart=/root/noderax-agent sandbox --json --port 8080 --data /var/lib/sandbox " +
          "--releases /srv/releases\n[Install]\nWantedBy=multi-user.target\n",
      );
      await machine.sh("systemctl enable --quiet --now sandbox");
      await machine.until("/root/noderax-agent sandbox nodes");
      const { token } = JSON.parse(await sandbox("install-token", "web", "--json")) as { token: string };
      await machine.run(
        [
          "/root/noderax-agent",
          "install",
          "--api-url=http://127.0.0.1:8080",
          "--update-channel-url=http://127.0.0.1:8080/releases",
          "--bootstrap-token=-",
          "--non-interactive",
        ],
        token,
      );
    }, minutes(10));

    afterAll(async () => {
      await machine?.[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    });

    const sandbox = (...args: string[]): Promise<string> =>
      machine.run(["/root/noderax-agent", "sandbox", ...args]);
    /** Brings what was published since into the machine. */
    async function publish(): Promise<void> {
      await machine.sh("rm -rf /srv/releases");
      await machine.copy(place.directory, "/srv/releases");
    }
    async function release(version: string, executable: Buffer): Promise<void> {
      place.publish(version, executable);
      await publish();
    }
    const attempt = async (command: string): Promise<{ code: number; text: string }> => {
      const text = await machine.sh(`{ ${command}; } 2>&1; echo "exit $?"`);
      return { code: Number(/exit (\d+)$/.exec(text)?.[1]), text };
    };
    const update = (args = ""): Promise<{ code: number; text: string }> =>
      attempt(`noderax-agent update ${args}`);
    const runs = (version: string): Promise<void> =>
      machine.until(
        `noderax-agent status --json >/tmp/status.json; grep -q '"version": "${version}"' /tmp/status.json && grep -q '"standing": "ok"' /tmp/status.json`,
        seconds(60),
      );
    const record = async (): Promise<RecordSeen> =>
      JSON.parse(await machine.sh("cat /var/lib/noderax-agent/update.json")) as RecordSeen;
    const over = async (): Promise<RecordSeen["attempt"]> => {
      await machine.until(
        `grep -q '"phase": "over"' /var/lib/noderax-agent/update.json && ! [ -e /etc/systemd/system/noderax-agent-update-watch.service ]`,
        minutes(3),
      );
      return (await record()).attempt;
    };
    const rollout = async (version: string, flags: string[] = []): Promise<Target | undefined> => {
      const text = await machine.sh(
        `/root/noderax-agent sandbox rollout ${version} --node web --json ${flags.join(" ")} 2>/dev/null || true`,
      );
      return (JSON.parse(text) as Target[])[0];
    };

    test("the owner sees what is offered, and that it is up to date", async () => {
      const { code, text } = await update("--check");
      expect({ code, text }).toEqual({ code: 0, text: expect.stringContaining("0.1.0 → 0.2.0") });
      const { text: json } = await update("--check --json");
      expect(JSON.parse(json.slice(0, json.lastIndexOf("exit")))).toMatchObject({
        offered: "0.2.0",
        by: "compressed",
      });
    });

    test("a roll-out updates the node while a task runs and writes: it goes on, and no row is lost", async () => {
      const { task_id: id } = JSON.parse(
        await sandbox("task", "web", "for i in $(seq 60); do echo row $i; sleep 0.2; done", "--json"),
      ) as { task_id: string };
      await machine.until(`/root/noderax-agent sandbox show ${id} --all | grep -q 'row 1'`);
      expect(await rollout("0.2.0")).toMatchObject({ status: "completed", progress_percent: 100 });
      await runs("0.2.0");
      await machine.until(
        `/root/noderax-agent sandbox show ${id} --json | grep -q '"status": "success"'`,
        seconds(60),
      );
      const { log, status } = JSON.parse(await sandbox("show", id, "--all", "--json")) as {
        status: string;
        log: { line: string }[];
      };
      expect(isFinal(status)).toBeTrue();
      const rows = log.flatMap(({ line }) => line.split("\n"));
      expect(rows).toEqual(Array.from({ length: 60 }, (_, index) => `row ${index + 1}`));
      expect(await over()).toMatchObject({ outcome: "confirmed" });
    });

    test("a version that exits at once is rolled back within half a minute, and the roll-out hears why", async () => {
      await release("0.3.0", impostor("0.3.0", "exit 1"));
      const target = await rollout("0.3.0");
      expect(target).toMatchObject({
        status: "failed",
        message: expect.stringContaining("rolled back to 0.2.0"),
      });
      await runs("0.2.0");
      const { startedAt, changedAt, ...end } = await over();
      expect(end).toMatchObject({ outcome: "rolled back", reason: expect.stringContaining("ended 2 times") });
      expect(Date.parse(changedAt) - Date.parse(startedAt)).toBeLessThan(seconds(60));
    });
  },
);
