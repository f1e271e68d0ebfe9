// Damaged state never keeps the node dark: what it did is found again in its run directories, and who it is stays.
import { expect, setDefaultTimeout, test } from "bun:test";
import { chownSync, lstatSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { databasePath } from "../../src/agent/agent.ts";
import { type AgentNode, TEST_LIMIT, asRoot, enrolledAgent } from "../support/agent.ts";
import { SOON } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

const quick = { settings: { task_poll_interval: "500ms" } };
const NOBODY = 65_534;

function losesDatabase(node: AgentNode): void {
  const database = databasePath(node.stateDirectory);
  for (const suffix of ["-wal", "-shm"]) rmSync(`${database}${suffix}`, { force: true });
  writeFileSync(database, "\0".repeat(8_192));
}

test("a task that runs while the database is lost goes on and is reported once; a finished one is not", async () => {
  await using node = await enrolledAgent(quick);
  const go = node.file("go");
  const over = node.runs("echo over");
  const reported = await over.finishes("success");
  const task = node.runs(`echo one; until [ -e ${go.path} ]; do sleep 0.1; done; echo two; exit 3`);
  await task.shows("one");
  await node.stops();
  losesDatabase(node);
  await node.starts();
  await node.statusBecomes(
    "it is taken up",
    ({ noderax }) => noderax?.tasks.some(({ id }) => id === task.id) ?? false,
  );
  expect((await node.status()).warnings.join()).toContain("1 unfinished and 1 finished tasks were taken up");
  writeFileSync(go.path, "");
  const { result } = await task.finishes("failed");
  expect(result).toMatchObject({ exitCode: 3 });
  expect(task.text("stdout")).toBe("one\ntwo");
  expect(task.text("info")).toContain("the agent's state was damaged");
  expect(over.document()).toEqual(reported);
  expect(readdirSync(node.stateDirectory).join()).toContain("state.db.damaged-");
});

test("a single row that cannot be read costs no task its report", async () => {
  await using node = await enrolledAgent(quick);
  const go = node.file("go");
  const began = node.file("began");
  const task = node.runs(`echo >${began.path}; until [ -e ${go.path} ]; do sleep 0.1; done; echo done`);
  await began.appears();
  await node.stops();
  node.edits((database) => database.run("UPDATE payloads SET payload = '{'"));
  await node.starts();
  writeFileSync(go.path, "");
  await task.finishes("success");
  expect((await node.status()).warnings.join()).toContain("1 unfinished and 0 finished tasks were taken up");
});

test("a task that had started but left no run directory is reported as failed after the journal is damaged", async () => {
  await using node = await enrolledAgent(quick);
  const began = node.file("began");
  const task = node.runs(`echo $$ >${began.path}; sleep 60`);
  const pid = Number(await began.appears());
  await node.stops();
  process.kill(pid, "SIGKILL");
  rmSync(join(node.stateDirectory, "tasks"), { recursive: true });
  node.edits((database) => database.run("UPDATE payloads SET payload = '{'"));
  await node.starts();
  const { result } = await task.finishes("failed");
  expect(String(result?.["error"])).toContain("the agent's state was damaged");
});

test("whatever stands in the place of its files, the node comes back as the same node", async () => {
  await using node = await enrolledAgent({ ...quick, started: false });
  await node.starts();
  await node.isOnline();
  await node.stops();
  const identity = readFileSync(node.stateFile, "utf8");
  const at = (name: string): string => join(node.stateDirectory, name);
  for (const name of [
    "state.db",
    "agent.lock",
    "agent.sock",
    "pending_enrollment.json",
    "agent_identity.json",
    "assignment.json",
  ]) {
    rmSync(at(name), { force: true });
    mkdirSync(join(at(name), "in", "the", "way"), { recursive: true });
  }
  rmSync(at("tasks"), { recursive: true, force: true });
  writeFileSync(at("tasks"), "in the way");
  await node.starts();
  await node.isOnline();
  expect(readFileSync(node.stateFile, "utf8")).toBe(identity);
  expect(lstatSync(at("tasks"), { throwIfNoEntry: false })?.isDirectory() ?? true).toBeTrue();
  // Seven places; each says what became of it.
  expect((await node.status()).warnings.filter((text) => text.includes("damaged"))).toHaveLength(7);
});

test.skipIf(!asRoot)(
  "what an agent of the task user was at is reported as failed by root's, which obeys nothing of it (needs root)",
  async () => {
    await using node = await enrolledAgent(quick);
    const planted = node.file("planted");
    const task = node.runs("sleep 60");
    await task.isRunning();
    await node.stops();
    node.edits((database) => {
      // What a task could have done to a database that its own user can write.
      database.run("UPDATE tasks SET phase = 'started', launch = NULL");
      database.run("UPDATE payloads SET payload = ?", [
        JSON.stringify({ command: `id -u >${planted.path}`, runAsRoot: true }),
      ]);
      database.run("INSERT OR REPLACE INTO root_access VALUES (1, 'all', NULL, '2026-01-01T00:00:00Z')");
    });
    for (const name of ["", ...readdirSync(node.stateDirectory)])
      chownSync(join(node.stateDirectory, name), NOBODY, NOBODY);
    await node.starts();
    const { output } = await task.finishes("failed", SOON);
    expect(output).toContain("does not go on with what it began as another user");
    expect(planted.text()).toBeUndefined();
    expect(readdirSync(node.stateDirectory).join()).toContain("state.db.of-nobody-");
  },
);
