// What an agent leaves to the collector with every task stays small: signals above all, of which it sees a few bytes.
import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { heapStats } from "bun:jsc";
import { NODE, TEST_LIMIT, enrolledAgent } from "../support/agent.ts";
import { isConnected, opens } from "../support/terminal.ts";
import { until } from "../support/until.ts";

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

const ROUNDS = 8;
/** Kinds of objects of which none may stay of a task, a terminal or a connection. */
const KINDS = ["AbortSignal", "Subprocess", "Terminal", "Timeout", "WebSocket"] as const;

/** How many of each kind are reachable. */
function reachable(): Record<(typeof KINDS)[number], number> {
  Bun.gc(true);
  const { objectTypeCounts } = heapStats();
  const [AbortSignal = 0, Subprocess = 0, Terminal = 0, Timeout = 0, WebSocket = 0] = KINDS.map(
    (kind) => objectTypeCounts[kind],
  );
  return { AbortSignal, Subprocess, Terminal, Timeout, WebSocket };
}

test("tasks, terminals and reconnects leave no process, terminal, socket, timer or signal behind", async () => {
  await using node = await enrolledAgent();
  let connections = 0;
  const round = async (): Promise<void> => {
    await isConnected(node, ++connections);
    await node.runs("echo done").finishes("success");
    using shell = await opens(node);
    shell.types("exit\n");
    await shell.ends();
    node.sandbox.disconnect(NODE);
  };
  for (let warm = 0; warm < 3; warm++) await round();
  const before = reachable();
  for (let n = 0; n < ROUNDS; n++) await round();
  // Less than one a round: what was used last may still stand on the stack.
  await until("less is left than one object a round", () => {
    const now = reachable();
    return KINDS.every((kind) => now[kind] - before[kind] < ROUNDS / 2);
  });
});
