// Promises of the kind agent.update: what a roll-out may ask, and what a node that cannot be updated says.
import { describe, expect, test } from "bun:test";
import { currentAccount, runnerFor } from "../../../src/platform/account.ts";
import { agentUpdate } from "../../../src/tasks/kinds/agent-update.ts";
import type { KindContext } from "../../../src/tasks/kinds/kind.ts";
import { noUpdates } from "../../support/task.ts";

const PAYLOAD = { targetVersion: "0.3.0", targetId: "0195e1d2-7d1c-7a3e-8a51-6f1f2c9b7a10", rollback: false };

const context = (settings: Partial<KindContext["settings"]>, ownService?: string): KindContext => ({
  settings: {
    task_timeout: 1_000,
    ...noUpdates,
    update_allow: "control-plane",
    update_channel_url: "https://releases.example.com",
    ...settings,
  },
  runner: runnerFor(currentAccount()),
  ownService,
  rebootRefusal: undefined,
});

const refusalOf = (payload: unknown, where: KindContext): string => {
  const prepared = agentUpdate.prepare(payload, where);
  return prepared.do === "refuse" ? prepared.text : prepared.do;
};

describe("a node that cannot be updated says why", () => {
  test("the owner forbids it", () => {
    for (const update_allow of ["off", "manual"] as const)
      expect(refusalOf(PAYLOAD, context({ update_allow }))).toContain(`update_allow is ${update_allow}`);
  });

  test("no place is set", () => {
    expect(refusalOf(PAYLOAD, context({ update_channel_url: undefined }))).toContain(
      "set update_channel_url",
    );
  });

  test("it is no service of systemd, where nothing could watch the new version", () => {
    expect(refusalOf(PAYLOAD, context({}))).toContain("update it by hand");
    expect(refusalOf(PAYLOAD, context({}, "other.service"))).toContain("update it by hand");
  });
});

describe("a payload", () => {
  test.skipIf(process.getuid?.() !== 0)("of a version and a target is work (needs root)", () => {
    expect(agentUpdate.prepare(PAYLOAD, context({}, "noderax-agent.service"))).toMatchObject({
      do: "work",
      repeatable: true,
    });
    const { rollback: _, ...without } = PAYLOAD;
    expect(refusalOf(without, context({}, "noderax-agent.service"))).toBe("work");
  });

  test("that could be an argument of another meaning is refused", () => {
    for (const change of [
      { targetVersion: "--rollback" },
      { targetVersion: "0.3.0 --check" },
      { targetVersion: "latest" },
      { targetId: "../../x" },
      { targetId: 7 },
      { rollback: "yes" },
    ])
      expect(refusalOf({ ...PAYLOAD, ...change }, context({}, "noderax-agent.service"))).toStartWith(
        "invalid payload of agent.update",
      );
  });
});
