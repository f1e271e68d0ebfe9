// Promises of updates on a machine run by systemd: exchanged, watched, rolled back; tasks go on, and the node always works.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { isFinal } from "../../src/protocol/noderax/tasks.ts";
import { AGENT, type Machine, missing } from "../support/systemd.ts";
import { UpdateWorld, impostor } from "../support/update-world.ts";

// A watch alone takes half a minute, one of an executable that hangs a whole one.
setDefaultTimeout(minutes(4));

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
    const world = new UpdateWorld();
    const { place } = world;
    let machine: Machine;

    beforeAll(async () => {
      machine = await world.boot();
    }, minutes(10));

    afterAll(async () => {
      await world[Symbol.asyncDispose]();
    });

    const { release, publish, sandbox } = world;
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
    const phase = (name: string): Promise<void> =>
      machine.until(`grep -q '"phase": "${name}"' /var/lib/noderax-agent/update.json`, minutes(1));
    const pid = (): Promise<string> => machine.sh("systemctl show --property=MainPID --value noderax-agent");
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
        by: "patch",
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

    test("a version that fails its self-test is not installed, and the agent is not even restarted", async () => {
      const before = await pid();
      await release(
        "0.4.0",
        impostor("0.4.0", "exit 1", "echo 'error: the state cannot be read' >&2; exit 1"),
      );
      expect(await rollout("0.4.0")).toMatchObject({
        status: "failed",
        message: expect.stringContaining("fails its self-test here: the state cannot be read"),
      });
      expect(await over()).toMatchObject({ outcome: "failed" });
      expect(await pid()).toBe(before);
    });

    test("a version whose start is refused for good is rolled back", async () => {
      await release("0.4.1", impostor("0.4.1", "exit 2"));
      const { code, text } = await update("--version 0.4.1");
      expect({ code, text }).toEqual({ code: 1, text: expect.stringContaining("rolled back to 0.2.0") });
      await runs("0.2.0");
      expect((await over()).reason).toContain("does not start");
    });

    test("a version that hangs is rolled back within 90 s", async () => {
      await release("0.4.2", impostor("0.4.2", "exec sleep 1000"));
      const { code, text } = await update("--version 0.4.2");
      expect({ code, text }).toEqual({ code: 1, text: expect.stringContaining("did not answer for 60 s") });
      await runs("0.2.0");
    });

    test("a machine that loses its power during the watch boots, and comes back with the version of before", async () => {
      // It hangs until the boot, after which it ends at once: the marker lies in memory.
      await release("0.4.3", impostor("0.4.3", "[ -e /run/marker ] && exec sleep 1000; exit 1"));
      await machine.sh("touch /run/marker; noderax-agent update --version 0.4.3 >/dev/null 2>&1 &");
      await phase("watching");
      expect(await machine.sh(`${AGENT} --version`)).toContain("0.4.3");
      await machine.reboot();
      await runs("0.2.0");
      expect(await over()).toMatchObject({ outcome: "rolled back" });
    });

    test("nothing is written for what is not genuine, and for the place of another program", async () => {
      const sum = await machine.sh(`sha256sum ${AGENT}`);
      place.publish("0.5.0", impostor("0.5.0", "exit 1"));
      place.tamper("0.5.0", "SHA256SUMS", (sums) => Buffer.from(sums.toString().replaceAll(/^./gm, "0")));
      await publish("0.5.0");
      const tampered = await update("--version 0.5.0");
      expect(tampered).toMatchObject({ code: 5, text: expect.stringContaining("not genuine") });
      place.catalog("noderax-agent");
      await publish();
      expect(await rollout("0.5.0")).toMatchObject({
        status: "failed",
        message: expect.stringContaining("serves another program"),
      });
      place.catalog("noderax-agent-ts");
      await publish();
      expect(await machine.sh(`sha256sum ${AGENT}; ls -A /opt/noderax-agent/update`)).toBe(sum);
    });

    test("a disk that is full leaves everything as it is", async () => {
      const downloads = "/opt/noderax-agent/update";
      await machine.sh(`mkdir -p ${downloads} && mount -t tmpfs -o size=1m tmpfs ${downloads}`);
      const { code, text } = await update("--version 0.1.0 --allow-downgrade");
      await machine.sh(`umount ${downloads}`);
      expect({ code, text }).toEqual({ code: 1, text: expect.stringContaining("cannot be written") });
      await runs("0.2.0");
    });

    test("an older version is refused, unless the owner allows it or rolls back by hand", async () => {
      expect(await update("--version 0.1.0")).toMatchObject({
        code: 5,
        text: expect.stringContaining("is older than 0.2.0"),
      });
      // What was rolled back has left its predecessor as the version of before.
      expect(await update("--version 0.1.0 --allow-downgrade")).toMatchObject({ code: 0 });
      await runs("0.1.0");
      expect(await update("--rollback")).toMatchObject({
        code: 0,
        text: expect.stringContaining("0.2.0 runs in place of 0.1.0"),
      });
      await runs("0.2.0");
    });

    test("two at once are one, and a kill of watcher and agent and an absent control plane change nothing", async () => {
      await machine.sh("noderax-agent update --version 0.1.0 --allow-downgrade >/tmp/first 2>&1 &");
      await phase("watching");
      const second = await update("--version 0.2.0");
      expect(second).toMatchObject({
        code: 5,
        text: expect.stringContaining("an update to 0.1.0 is going on"),
      });
      const kill = (unit: string): Promise<string> => machine.sh(`systemctl kill --signal=KILL ${unit}`);
      await kill("noderax-agent-update-watch");
      await kill("noderax-agent");
      await machine.sh("systemctl stop sandbox");
      await machine.until("grep -q 'has not accepted the node yet' /var/lib/noderax-agent/update.json");
      await machine.sh("systemctl start sandbox");
      expect(await over()).toMatchObject({ outcome: "confirmed", to: "0.1.0" });
      await runs("0.1.0");
    });

    test("the owner can forbid it: a roll-out then says so", async () => {
      await machine.sh("noderax-agent config set update_allow off --restart");
      expect(await update()).toMatchObject({ code: 5, text: expect.stringContaining("update_allow is off") });
      // The server may hold the claim of the agent of before, and hand the task to it.
      await machine.until(`${AGENT} status --json | grep -q '"waiting for a task"'`, minutes(1));
      expect(await rollout("0.2.0")).toMatchObject({
        status: "failed",
        message: expect.stringContaining("allows no updates by the control plane (update_allow is off)"),
      });
    });

    test("an uninstall leaves nothing of it", async () => {
      await machine.sh("noderax-agent uninstall --purge");
      const left =
        "ls -d /opt/noderax-agent /var/lib/noderax-agent /etc/systemd/system/noderax-agent* 2>/dev/null; true";
      expect(await machine.sh(left)).toBe("");
    });
  },
);
