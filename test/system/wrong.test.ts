// Mistakes are reported with a short message, the place, the next step and an exit code; nothing is half done.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { seconds } from "../../src/lib/duration.ts";
import { type Machine, enrolled, machine, startSandbox, until } from "../support/dev.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(150_000);

const URL = "http://127.0.0.1:1";
const isRoot = process.getuid?.() === 0;

describe("a configuration that is wrong stops `run` with exit 2 and the place", () => {
  test.each([
    [
      "a duration without a unit",
      `{ "api_url": "${URL}",\n  "heartbeat_interval": "30" }`,
      'heartbeat_interval: "30" is not a duration (give a unit: 30s, 1m, 2m30s), from FILE:2',
    ],
    [
      "an unknown key",
      `{ "api_url": "${URL}",\n  "heartbeat_intervall": "30s" }`,
      "FILE:2: unknown key heartbeat_intervall (did you mean heartbeat_interval?)",
    ],
    [
      "JSON that ends too early",
      `{ "api_url": "${URL}",`,
      "FILE:1:35: expected a key in double quotes, but the file ends here",
    ],
    ["a key without quotes", `{ api_url: "${URL}" }`, "FILE:1:3: expected a key in double quotes"],
    [
      "an address that is none",
      `{ "api_url": "ftp://x" }`,
      'api_url: "ftp://x" must begin with http:// or https://, from FILE:1',
    ],
  ])("%s", async (_, content, message) => {
    using host = machine();
    const file = host.write("work/config.json", content);
    const { code, stdout, stderr } = await host.run(["run"]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr.split("\n")[0]).toBe(`error: ${message.replace("FILE", file)}`);
  });

  test("all wrong settings are reported at once", async () => {
    using host = machine();
    host.write("work/config.json", { nonsense: 1, task_timeout: "soon" });
    const { code, stderr } = await host.run(["run", "--heartbeat-interval", "30"]);
    expect(code).toBe(2);
    expect(stderr).toStartWith("error: 3 settings are wrong\n");
    for (const word of ["nonsense", "task_timeout", "--heartbeat-interval"]) expect(stderr).toContain(word);
  });
});

describe("a command line that is wrong is refused with exit 2 and a way to help", () => {
  test.each([
    [["frobnicate"], "unknown command frobnicate"],
    [["statu"], "unknown command statu (did you mean status?)"],
    [["task", "lsit"], "unknown command task lsit (did you mean task list?)"],
    [["enroll", "--emial", "a@b.c"], "unknown flag --emial (did you mean --email?)"],
    [["status", "now"], 'unexpected argument "now"'],
    [["logs", "--agent", "shop/web"], "--agent shows the agent's own log: leave out shop/web, or --agent"],
    [["task", "logs"], "missing <id>"],
    [["task"], "task needs a command: list, logs, explain"],
    [["dev", "--port", "abc"], '--port: "abc" is not a port (0 to 65535)'],
    [["dev", "--port", "65536"], '--port: "65536" is not a port (0 to 65535)'],
    [["sandbox", "--port", "abc"], '--port: "abc" is not a port (0 to 65535)'],
    [["sandbox", "--tls-cert", "x"], "--tls-cert and --tls-key must be given together"],
    [["--json", "status"], "flags go after the command: noderax-agent status …"],
  ])("%j", async (args, message) => {
    using host = machine();
    const { code, stdout, stderr } = await host.run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^error: .+\n {2}See:  noderax-agent help.*\n$/);
    expect(stderr.split("\n")[0]).toBe(`error: ${message}`);
  });
});

test("dev and sandbox on a taken port tell who has it, and what to type in place of what was typed", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  const { port } = new globalThis.URL(sandbox.url);
  for (const command of ["dev", "sandbox"]) {
    const { code, stderr } = await host.run([command, "--port", port]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      new RegExp(
        `^error: cannot listen on 127\\.0\\.0\\.1:${port}: noderax-agent \\(pid ${sandbox.process.pid}\\) listens there\n` +
          `  Take any free port:  noderax-agent ${command} --port 0\n$`,
      ),
    );
  }
  const npm = await host.run(["dev", "--port", port], { env: { npm_lifecycle_event: "start" } });
  expect(npm.stderr).toEndWith("  Take any free port:  npm start -- --port 0\n");
});

test("dev names why it cannot reach Docker", async () => {
  using host = machine();
  await using dev = host.start(["dev", "--port", "0"], { env: { DOCKER_HOST: "tcp://127.0.0.1:1" } });
  const line = await dev.line(/^ {2}docker/);
  expect(line).toBe(
    "  docker          projects are off (Docker does not answer at tcp://127.0.0.1:1: nobody listens there)",
  );
  // The first command that is suggested works where there is nothing but a shell and coreutils.
  await dev.line(/sandbox task demo-1 'uname -a'$/);
});

/** Places where no user can store state. */
const places = {
  "a file stands where the directory should": (host: Machine) => {
    host.write("work/data", "");
    return { path: host.at("work/data/id.json"), why: "is not a directory" };
  },
  "the way leads through a file": (host: Machine) => {
    host.write("work/file", "");
    return { path: host.at("work/file/deeper/id.json"), why: "is not a directory" };
  },
};

describe.each(Object.entries(places))("when %s", (_, prepare) => {
  test("run names the setting", async () => {
    using host = machine();
    const { path, why } = prepare(host);
    const { code, stderr } = await host.run(["run", "--api-url", URL, "--state-file", path]);
    expect(code).toBe(5);
    expect(stderr).toStartWith("error: state_file: ");
    expect(stderr).toContain(why);
    expect(stderr).toContain("noderax-agent config set state_file /path/to/agent_identity.json");
  });

  test("enroll fails before it uses up its token", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    const { path, why } = prepare(host);
    const { token } = (await sandbox.call("POST", "/node-installs", { node_name: "a" })) as { token: string };
    const args = ["enroll", "--api-url", sandbox.url, "--hostname", "web-01", "--bootstrap-token", "-"];
    const refused = await host.run([...args, "--state-file", path], { stdin: token });
    expect(refused.code).toBe(5);
    expect(refused.stderr).toContain(why);
    const good = await host.run([...args, "--state-file", host.at("good/id.json")], { stdin: token });
    expect(good.code).toBe(0);
  });
});

/** A file system of its own over a directory; undefined where we may not mount. */
function mounted(path: string, options: string): (Disposable & { again(options: string): void }) | undefined {
  mkdirSync(path, { recursive: true });
  const mount = (text: string): boolean =>
    Bun.spawnSync(["mount", "-t", "tmpfs", "-o", text, "tmpfs", path], { stderr: "ignore" }).success;
  if (!mount(options)) return undefined;
  return {
    again: (text) => void Bun.spawnSync(["mount", "-o", `remount,${text}`, path]),
    [Symbol.dispose]: () => void Bun.spawnSync(["umount", "-l", path], { stderr: "ignore" }),
  };
}

function mayMount(): boolean {
  if (!isRoot) return false;
  using host = machine();
  using there = mounted(host.at("probe"), "size=64k");
  return there !== undefined;
}

describe.skipIf(!mayMount())("with file systems of its own (needs root and leave to mount)", () => {
  test("a read-only state directory is reported before the control plane is called", async () => {
    using host = machine();
    using _there = mounted(host.at("ro"), "ro,size=64k");
    for (const command of [["run"], ["enroll", "--email", "a@b.c"]]) {
      const args = [...command, "--api-url", URL, "--state-file", host.at("ro/id.json")];
      const { code, stderr } = await host.run(args);
      expect(code).toBe(5);
      expect(stderr).toStartWith(
        `error: state_file: ${host.at("ro")} cannot be written: read-only file system\n`,
      );
    }
  });

  test("enroll that cannot write the configuration says that the machine is a node, and how to start it", async () => {
    using host = machine();
    using _there = mounted(host.at("ro"), "ro,size=64k");
    await using sandbox = await startSandbox(host);
    const { token } = (await sandbox.call("POST", "/node-installs", { node_name: "a" })) as { token: string };
    const state = ["--state-file", host.at("state/id.json")];
    const args = [
      "enroll",
      "--api-url",
      sandbox.url,
      "--hostname",
      "web-01",
      "--bootstrap-token",
      "-",
      ...state,
    ];
    const { code, stderr } = await host.run(args, { cwd: host.at("ro"), stdin: token });
    expect(code).toBe(5);
    expect(stderr).toMatch(
      /^error: approved as node web-01 \(\S+\), but its configuration was not saved: .+\n/,
    );
    expect(stderr).toContain(`Start it with:  noderax-agent run --api-url ${sandbox.url}`);
    expect(host.has("state/id.json")).toBeTrue();
  });

  test(
    "output that would fill the disk is not kept: its task says so and keeps its exit code, and the node goes on",
    async () => {
      using host = machine();
      using _disk = mounted(host.at("work/data"), "size=16m,mode=700");
      await using sandbox = await startSandbox(host);
      await enrolled(host, sandbox, "web-01");
      await using agent = host.start(["run", "--task-poll-interval", "500ms"]);
      const id = await sandbox.order("web-01", "seq 3000000; sleep 5; exit 7");
      expect(await sandbox.sees(id, "failed")).toMatchObject({ result: { exitCode: 7 } });
      expect(await sandbox.log(id)).toMatch(
        /is full: \d+ kB left; of what this command writes, the rest is not kept/,
      );
      expect(await sandbox.log(id)).toMatch(/\d+ bytes or a little more of stdout were not kept/);
      // Nobody made room: what the task has left was given up.
      const next = await sandbox.order("web-01", "echo room again");
      expect(await sandbox.sees(next, "success", "failed")).toMatchObject({ output: "room again\n" });
      agent.signal("SIGTERM");
      expect(await agent.exited).toBe(0);
    },
    seconds(60),
  );

  test(
    "a disk that others fill: a running task is reported with its exit code, none is claimed, and status says why",
    async () => {
      using host = machine();
      using disk = mounted(host.at("work/data"), "size=16m,mode=700");
      await using sandbox = await startSandbox(host);
      await enrolled(host, sandbox, "web-01");
      await using agent = host.start(["run", "--task-poll-interval", "500ms"]);
      const running = await sandbox.order(
        "web-01",
        `echo begun; while [ ! -e ${host.at("go")} ]; do sleep 0.05; done; exit 5`,
      );
      await until("the command runs", async () => (await sandbox.log(running)).includes("begun"));
      Bun.spawnSync(["sh", "-c", `cat /dev/zero >${host.at("work/data/foreign")}`]);
      await agent.line(/is full: \d+ kB left; no task is claimed/);
      await until("no claim is open", async () =>
        /claim +the disk/.test((await host.run(["status"])).stdout),
      );
      const queued = await sandbox.order("web-01", "echo room again");
      host.write("go", "");
      expect(await sandbox.sees(running, "failed")).toMatchObject({ result: { exitCode: 5 } });
      const status = (await host.run(["status"])).stdout;
      expect(status).toMatch(/the disk of \S+ is full: \d+ kB left/);
      expect(await sandbox.sees(queued, "queued")).toMatchObject({ status: "queued" });
      Bun.spawnSync(["rm", host.at("work/data/foreign")]);
      expect(await sandbox.sees(queued, "success")).toMatchObject({ output: "room again\n" });
      expect(disk).toBeDefined();
    },
    seconds(60),
  );

  test("an agent starts on a disk that was filled to the last byte while it was stopped", async () => {
    using host = machine();
    using _disk = mounted(host.at("work/data"), "size=16m,mode=700");
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const first = host.start(["run", "--task-poll-interval", "500ms"]);
    await first.line(/started/);
    first.signal("SIGTERM");
    expect(await first.exited).toBe(0);
    Bun.spawnSync(["sh", "-c", `cat /dev/zero >${host.at("work/data/foreign")}`]);
    await using second = host.start(["run", "--task-poll-interval", "500ms"]);
    await second.line(/started/);
    expect((await host.run(["status"])).stdout).toMatch(/is full/);
  });
});

describe("state that cannot be used", () => {
  test("an identity that is not JSON is reported, and --force replaces it as the message says", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    host.write("work/data/agent_identity.json", "garbage");
    const refused = await host.run(["enroll"]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toBe(
      `error: the identity file ${host.at("work/data/agent_identity.json")} cannot be used: it is not JSON\n` +
        "  Restore it, or enroll this machine again:  noderax-agent enroll --force\n",
    );
    const { token } = (await sandbox.call("POST", "/node-installs", { node_name: "a" })) as { token: string };
    const args = ["enroll", "--force", "--hostname", "web-02", "--bootstrap-token", "-"];
    expect((await host.run(args, { stdin: token })).code).toBe(0);
  });

  test("a database that is none is named by its path", async () => {
    using host = machine();
    host.write("work/config.json", { api_url: URL });
    mkdirSync(host.at("work/data"));
    host.write("work/data/state.db", "garbage ".repeat(1_000));
    const list = await host.run(["task", "list"]);
    expect(list.code).toBe(1);
    expect(list.stderr).toContain(host.at("work/data/state.db"));
    rmSync(host.at("work/data"), { recursive: true });
    expect(await host.run(["task", "list"])).toMatchObject({ code: 0, stderr: "no task has run here yet\n" });
  });
});
