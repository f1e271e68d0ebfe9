// What an agent leaves to the collector with every task stays small: signals above all, of which it sees a few bytes.
import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { TEST_LIMIT, enrolledAgent } from "../support/agent.ts";

setDefaultTimeout(TEST_LIMIT);

/** Counts the signals that are made in this process, until it is disposed. */
function countedSignals() {
  const Original = globalThis.AbortController;
  let controllers = 0;
  globalThis.AbortController = class extends Original {
    constructor() {
      super();
      controllers++;
    }
  };
  const spies = [spyOn(AbortSignal, "any"), spyOn(AbortSignal, "timeout")];
  return {
    count: () => spies.reduce((sum, { mock }) => sum + mock.calls.length, controllers),
    [Symbol.dispose]() {
      globalThis.AbortController = Original;
      for (const spy of spies) spy.mockRestore();
    },
  };
}

test("a task makes a few abort signals for each of its requests, not for each look at it", async () => {
  await using node = await enrolledAgent({ watched: true });
  await node.runs("true").finishes("success");
  const requests = node.gateway.seen.length;
  using signals = countedSignals();
  await node.runs("for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.1; done").finishes("success");
  const made = signals.count();
  // The sandbox, in the same process, makes some too.
  expect(made / (node.gateway.seen.length - requests)).toBeLessThan(3);
});
