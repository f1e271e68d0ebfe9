// Many terminals: side by side without mixing, and one after another without leaving anything.
import { expect, setDefaultTimeout, test } from "bun:test";
import { TEST_LIMIT, enrolledAgent, enrolledProcess } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { asks, isConnected, opens } from "../support/terminal.ts";
import { descriptorsOf } from "../support/processes.ts";

setDefaultTimeout(TEST_LIMIT);

test("twenty at once do not mix", async () => {
  await using node = await enrolledAgent();
  await isConnected(node);
  const shells = await Promise.all(Array.from({ length: 20 }, () => opens(node)));
  using all = new DisposableStack();
  for (const shell of shells) all.use(shell);
  for (const [index, shell] of shells.entries())
    shell.types(`for i in $(seq 2000); do echo "marker-${index}-$i"; done; exit ${index}\n`);
  for (const [index, shell] of shells.entries()) {
    expect(await shell.ends()).toMatchObject({ exit_code: index });
    const wanted = Array.from({ length: 2_000 }, (_, line) => `marker-${index}-${line + 1}\n`).join("");
    expect(shell.text() === `${wanted}exit\n`).toBe(true);
  }
});

test("a hundred one after another leave no descriptor, no process and no trace in the agent's memory", async () => {
  await using node = await enrolledProcess();
  await isConnected(node);
  const one = async (index: number): Promise<void> => {
    using shell = asks(node);
    shell.types(`exit ${index}\n`);
    expect(await shell.ends()).toMatchObject({ exit_code: index });
    expect(shell.processes()).toEqual([]);
  };
  // What is loaded with the first ones stays.
  for (let index = 0; index < 3; index++) await one(index);
  const before = descriptorsOf(node.pid);
  for (let index = 0; index < 100; index++) await one(index);
  await node.statusBecomes("no terminals", ({ noderax }) => noderax?.terminals?.length === 0);
  // One more may be a connection that idles.
  await until("no more descriptors than before", () => descriptorsOf(node.pid) <= before + 1);
});
