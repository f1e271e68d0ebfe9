// Claiming where the server announces tasks over the realtime session.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { seconds } from "../../src/lib/duration.ts";
import { type AgentNode, TEST_LIMIT } from "../support/agent.ts";
import { type Network, network } from "../support/network.ts";
import { agentBehind } from "../support/session.ts";
import { isConnected } from "../support/terminal.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

describe("claims, when the server announces tasks,", () => {
  const noteOf = async (node: AgentNode): Promise<string | undefined> =>
    (await node.status()).loops.find(({ name }) => name === "claim")?.note;
  const LISTENS = "waiting for the server to announce a task";
  const POLLS = "waiting for a task";

  /** An agent that has seen that tasks are announced, and holds no claim open. */
  async function listeningAgent(ways: Network, interval: string): Promise<AgentNode> {
    const node = await agentBehind(ways, {
      settings: { task_poll_interval: interval },
      sandbox: { faults: { taskDispatch: true }, timings: { claimStep: 500 } },
    });
    await isConnected(node);
    await until("it waits for announcements", async () => {
      await node.runs("true").finishes("success");
      return (await noteOf(node)) === LISTENS;
    });
    return node;
  }

  test("leave at each announcement", async () => {
    await using ways = await network();
    await using node = await listeningAgent(ways, "30s");
    // A claim that waits would bring nothing within this test.
    node.sandbox.setTimings({ claimStep: 120_000 });
    for (let n = 1; n <= 3; n++) await node.runs("true").finishes("success");
    const many = Array.from({ length: 20 }, () => node.runs("true"));
    for (const task of many) await task.finishes("success");
    expect(await noteOf(node)).toBe(LISTENS);
  });

  test("find a task that was not announced, and wait on the server from then on", async () => {
    await using ways = await network();
    await using node = await listeningAgent(ways, "2s");
    node.sandbox.setFaults({ taskDispatch: false });
    await node.runs("true").finishes("success");
    await until("a claim waits again", async () => (await noteOf(node)) === POLLS);
  });

  test("wait on the server again once the session has ended", async () => {
    await using ways = await network();
    await using node = await listeningAgent(ways, "30s");
    ways.cut();
    // Long before the interval has passed.
    await until("a claim waits again", async () => (await noteOf(node)) === POLLS, seconds(15));
    await node.runs("true").finishes("success");
  });
});
