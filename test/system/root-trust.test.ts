// Promises of the compiled executable as root: it neither executes nor obeys what the user of its tasks can change.
import { beforeEach, afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { binary, runBinary, startBinary } from "../support/binary.ts";
import { endCommands } from "../support/processes.ts";
import { type ControlPlane, controlPlane } from "../support/sandbox.ts";
import { enrolled } from "../unit/sandbox/harness.ts";
import { until } from "../support/until.ts";

/** As numbers: the user need not exist. */
const TASK_USER = 65_534;

describe.skipIf(process.getuid?.() !== 0)("an agent of root's (needs root)", () => {
  let directory: string;
  let plane: ControlPlane;
  const at = (...names: string[]): string => join(directory, ...names);

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "noderax-trust-"));
    chmodSync(directory, 0o755);
    mkdirSync(at("plane"));
    plane = await controlPlane(at("plane"));
  });
  afterEach(async () => {
    endCommands(at("app/data/tasks"));
    await plane[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  async function configured(settings: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const { id, token } = await enrolled(plane.sandbox, "web");
    mkdirSync(at("app/data"), { recursive: true });
    const identity = { node_id: id, agent_token: token };
    writeFileSync(at("app/data/agent_identity.json"), JSON.stringify(identity), { mode: 0o600 });
    const config = at("config.json");
    const document = {
      api_url: plane.url,
      state_file: at("app/data/agent_identity.json"),
      task_user: "nobody",
      task_poll_interval: "1s",
      realtime_enabled: false,
      ...settings,
    };
    writeFileSync(config, JSON.stringify(document), { mode: 0o600 });
    return config;
  }

  test("does not start with its state below a directory of the task user, and says what mends it", async () => {
    const config = await configured();
    chownSync(at("app"), TASK_USER, TASK_USER);
    const { code, stderr } = await runBinary(["run", "--config", config]);
    expect(code).toBe(5);
    expect(stderr).toContain(`${at("app")} belongs to nobody`);
    expect(stderr).toContain(`chown root: ${at("app")}`);
    expect(readdirSync(at("app/data"))).toEqual(["agent_identity.json"]);
  });

  test("runs no script that the task user planted while the agent ran", async () => {
    const config = await configured();
    await using agent = startBinary(["run", "--config", config]);
    await agent.line(/started/);
    const canary = at("canary");
    // What the attack needs: a directory above that is the task user's. Then root's directory is moved away.
    chownSync(at("app"), TASK_USER, TASK_USER);
    const task = plane.sandbox.createTask({ node: "web", payload: { command: `touch ${canary}` } }).id;
    await until("the task is over", () => plane.sandbox.task(task).status === "failed");
    expect(plane.sandbox.task(task).output).toContain(`${at("app")} belongs to nobody`);
    expect(existsSync(canary)).toBeFalse();
  });

  test.each([
    ["the file", "config.json"],
    ["a directory above it", "etc"],
  ])("does not obey a configuration where %s belongs to the task user", async (_, theirs) => {
    const config = await configured({ task_user: "root" });
    mkdirSync(at("etc"));
    const used = theirs === "etc" ? at("etc/config.json") : config;
    if (theirs === "etc") writeFileSync(used, await Bun.file(config).text(), { mode: 0o600 });
    chownSync(at(theirs), TASK_USER, TASK_USER);
    for (const command of [["run"], ["enroll"], ["task", "list"]]) {
      const { code, stderr } = await runBinary([...command, "--config", used]);
      expect({ command, code }).toEqual({ command, code: 5 });
      expect(stderr).toContain(`chown root: ${at(theirs)}`);
    }
    const env = { NODERAX_CONFIG_FILE: used };
    expect((await runBinary(["run"], { env })).code).toBe(5);
    expect(existsSync(at("app/data/state.db"))).toBeFalse();
  });

  test("passes over .env and config.json in a working directory of the task user", async () => {
    await configured();
    mkdirSync(at("work"));
    writeFileSync(at("work/.env"), "API_URL=http://canary.invalid\n");
    writeFileSync(at("work/config.json"), '{"api_url":"http://canary.invalid"}');
    chownSync(at("work"), TASK_USER, TASK_USER);
    const { code, stdout } = await runBinary(["run"], { cwd: at("work") });
    expect(code).toBe(3);
    for (const name of [".env", "config.json"])
      expect(stdout).toContain(`${at("work", name)} is not read: ${at("work")} belongs to nobody`);
  });

  test("takes over the state directory that an agent of the task user has left, and keeps the identity", async () => {
    const config = await configured();
    writeFileSync(at("app/data/state.db"), "what a task may have written");
    for (const path of ["app/data", "app/data/agent_identity.json", "app/data/state.db"])
      chownSync(at(path), TASK_USER, TASK_USER);
    await using agent = startBinary(["run", "--config", config]);
    await agent.line(/started/);
    await until("the node is online", () => plane.sandbox.node("web").status === "online");
    expect(statSync(at("app/data"))).toMatchObject({ uid: 0, mode: 0o040711 });
    expect(statSync(at("app/data/state.db"))).toMatchObject({ uid: 0, mode: 0o100600 });
    expect(readdirSync(at("app/data")).join()).toContain("state.db.of-nobody-");
  });

  test("says, where it is not root itself, that its tasks can read its identity", async () => {
    const config = await configured();
    for (const path of ["config.json", "app/data", "app/data/agent_identity.json"])
      chownSync(at(path), TASK_USER, TASK_USER);
    const asNobody = [`--reuid=${TASK_USER}`, `--regid=${TASK_USER}`, "--clear-groups", binary];
    const setpriv = { file: "/usr/bin/setpriv" };
    await using agent = startBinary([...asNobody, "run", "--config", config], setpriv);
    await agent.line(/the agent runs as nobody, and so do its tasks/);
    await agent.line(/started/);
    const status = await runBinary([...asNobody, "status", "--config", config], setpriv);
    expect(status.stdout).toContain("each of them can read the node's identity");
  });

  test("does not start when its executable can be exchanged by the task user", async () => {
    const config = await configured();
    mkdirSync(at("bin"));
    Bun.spawnSync(["cp", binary, at("bin/noderax-agent")]);
    chownSync(at("bin"), TASK_USER, TASK_USER);
    const { code, stderr } = await runBinary(["run", "--config", config], { file: at("bin/noderax-agent") });
    expect(code).toBe(5);
    expect(stderr).toContain(`chown root: ${at("bin")}`);
  });
});
