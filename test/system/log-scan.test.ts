// Log previews of a machine under systemd, from the operator's command to the real journal and back.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes } from "../../src/lib/duration.ts";
import { AGENT, type Node, bootNode, missing } from "../support/systemd.ts";

setDefaultTimeout(minutes(2));

interface Scan {
  readonly status: string;
  readonly error: string | null;
  readonly result: {
    readonly sourceType: string;
    readonly entries: readonly {
      readonly message: string;
      readonly identifier?: string;
      readonly unit?: string;
    }[];
    readonly warnings: readonly string[];
  } | null;
}

describe.skipIf(missing !== undefined)(
  `a log preview under systemd${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let node: Node;

    beforeAll(async () => {
      node = await bootNode({
        stateDirectory: "/var/lib/noderax-agent",
        settings: { task_poll_interval: "1s" },
      });
      await node.agent("sandbox", "root-access", "web", "operational");
      await node.until(`${AGENT} sandbox root-access web | grep -q 'is in force$'`);
    }, minutes(3));

    afterAll(async () => {
      await node?.[Symbol.asyncDispose]();
    });

    async function scan(...args: readonly string[]): Promise<Scan> {
      const output = await node.sh(`${AGENT} sandbox scan web ${args.join(" ")} --json || true`);
      return JSON.parse(output) as Scan;
    }

    async function monitor(preset: string, cursor: unknown): Promise<Record<string, unknown>> {
      const payload = JSON.stringify({
        mode: "monitor",
        sourcePresetId: preset,
        cursor,
        runAsRoot: true,
        rootScope: "operational",
      });
      const order = await node.agent(
        "sandbox",
        "task",
        "web",
        "--type",
        "log.scan",
        "--payload",
        payload,
        "--json",
      );
      const { status, result } = await node.ended((JSON.parse(order) as { task_id: string }).task_id);
      expect(status).toBe("success");
      return result ?? {};
    }

    const messages = ({ entries }: Record<string, unknown>): string[] =>
      (entries as { message: string }[]).map(({ message }) => message);

    test("of a log without a file comes from the journal, whole, and says so", async () => {
      await node.sh("echo 'hello from the probe' | systemd-cat --identifier=probe");
      await node.until("journalctl --identifier=probe --quiet --lines=1 | grep -q hello");
      const { status, error, result } = await scan("syslog", "--lines", "500");
      expect([status, error, result?.sourceType]).toEqual(["success", null, "journal"]);
      expect(result?.warnings).toEqual(["syslog is absent: the journal of this machine was read"]);
      expect(result?.entries).toContainEqual(
        expect.objectContaining({ identifier: "probe", message: "hello from the probe" }),
      );
    });

    test("of the agent is its own journal", async () => {
      const { result } = await scan("noderax-agent");
      expect(result?.warnings).toEqual([]);
      expect(new Set(result?.entries.map(({ unit }) => unit))).toContain("noderax-agent.service");
      expect(result?.entries.map(({ message }) => message).join("\n")).toContain("online");
    });

    test("is followed by what was logged since, once, and a journal that was cleared since is noticed", async () => {
      const first = await monitor("syslog", undefined);
      await node.sh("for n in one two three; do echo $n | systemd-cat --identifier=monitored; done");
      await node.until("[ $(journalctl --identifier=monitored --quiet --output=cat | wc -l) = 3 ]");
      const second = await monitor("syslog", first["cursor"]);
      expect(messages(second).filter((text) => /^(one|two|three)$/.test(text))).toEqual([
        "one",
        "two",
        "three",
      ]);
      const third = await monitor("syslog", second["cursor"]);
      expect(messages(third)).not.toContain("three");
      const gone = {
        journalCursor:
          "s=00000000000000000000000000000001;i=1;b=00000000000000000000000000000001;m=1;t=1;x=1",
      };
      expect((await monitor("syslog", gone))["warnings"]).toContainEqual(
        expect.stringContaining("the journal no longer holds the entry that was read last"),
      );
    });

    test("without root reads as the user of tasks, and fails with the reason where that may read nothing", async () => {
      const { status, error } = await scan("syslog", "--no-root");
      expect(status).toBe("failed");
      expect(error).toContain("insufficient permissions");
      await node.sh("usermod --append --groups systemd-journal noderax");
      const { result } = await scan("syslog", "--no-root");
      expect(result?.entries.map(({ message }) => message)).toContain("hello from the probe");
    });

    test("as root is refused where the profile gives no root", async () => {
      await node.agent("sandbox", "root-access", "web", "off");
      await node.until(`${AGENT} sandbox root-access web | grep -q 'off is in force$'`);
      const refusal = await node.agent("sandbox", "scan", "web", "auth.log").catch(String);
      expect(refusal).toMatch(/root/i);
    });
  },
);
