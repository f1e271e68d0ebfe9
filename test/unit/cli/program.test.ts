// The program as people start it: a real process, a real working directory, exit codes.
import { expect, test } from "bun:test";
import { join } from "node:path";
import { asCalled, calledAs, invokedAs, pathToType, typed } from "../../../src/cli/program.ts";
import { scratch } from "../config/scratch.ts";

const main = join(import.meta.dir, "../../../src/main.ts");

interface Ended {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

async function agent(
  cwd: string,
  argv: readonly string[],
  { env = {}, input = "" }: { env?: Record<string, string>; input?: string } = {},
): Promise<Ended> {
  const child = Bun.spawn([process.execPath, "--no-env-file", main, ...argv], {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", HOME: cwd, ...env },
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { out, err, code };
}

test("version says which build this is, in words and as JSON", async () => {
  using folder = scratch();
  const { out, code } = await agent(folder.path, ["-v"]);
  expect(out).toMatch(/^noderax-agent \S+ \(commit \S+, built \S+, linux\/(amd64|arm64)\)\n$/);
  expect(code).toBe(0);
  expect(JSON.parse((await agent(folder.path, ["version", "--json"])).out)).toHaveProperty("commit");
});

test("a mistake is one error on stderr, nothing on stdout, exit 2", async () => {
  using folder = scratch();
  const { out, err, code } = await agent(folder.path, ["config", "show", "--jsn"]);
  expect({ out, code }).toEqual({ out: "", code: 2 });
  expect(err).toBe(
    "error: unknown flag --jsn (did you mean --json?)\n  See:  noderax-agent help config show\n",
  );
});

test("config set writes a setting, config show tells its value and its source", async () => {
  using folder = scratch();
  const set = await agent(folder.path, ["config", "set", "--config", "my.json", "heartbeat-interval", "45s"]);
  expect(set.out).toBe(`heartbeat_interval saved to ${folder.at("my.json")}\n`);
  const { out } = await agent(folder.path, ["config", "show", "--sources", "--config", "my.json"]);
  expect(out).toMatch(/^heartbeat_interval +45s +\S+my\.json:2$/m);
});

test("config set refuses a wrong value and an unknown key and writes nothing", async () => {
  using folder = scratch({ "config.json": "{}" });
  expect((await agent(folder.path, ["config", "set", "heartbeat_interval", "30"])).err).toBe(
    'error: heartbeat_interval: "30" is not a duration (give a unit: 30s, 1m, 2m30s)\n',
  );
  const { err, code } = await agent(folder.path, ["config", "set", "heartbeat_intervall", "30s"]);
  expect(err).toContain("unknown setting heartbeat_intervall (did you mean heartbeat_interval?)");
  expect(code).toBe(2);
  expect(folder.read("config.json")).toBe("{}");
});

test("config set repairs a file whose value is wrong", async () => {
  using folder = scratch({ "config.json": '{ "task_timeout": 30 }' });
  expect((await agent(folder.path, ["config", "set", "task_timeout", "30s"])).code).toBe(0);
  expect(JSON.parse(folder.read("config.json"))).toEqual({ task_timeout: "30s" });
});

test("a secret is read from standard input or a file, and shown masked", async () => {
  using folder = scratch({ token: "0123456789abcdefXYZ\n" });
  await agent(folder.path, ["config", "set", "agent_token", "-"], { input: "abcdefghijklmnop3f1c\n" });
  expect(JSON.parse(folder.read("config.json"))).toEqual({ agent_token: "abcdefghijklmnop3f1c" });
  expect((await agent(folder.path, ["config", "show"])).out).toMatch(/^agent_token +••••••••3f1c$/m);
  await agent(folder.path, ["config", "set", "agent_token", "--value-file", "token"]);
  expect(JSON.parse(folder.read("config.json"))).toEqual({ agent_token: "0123456789abcdefXYZ" });
});

test("config set warns when the environment overrules the file", async () => {
  using folder = scratch();
  const { err } = await agent(folder.path, ["config", "set", "log_level", "warn"], {
    env: { LOG_LEVEL: "debug" },
  });
  expect(err).toContain("warning: environment LOG_LEVEL sets log_level too and overrules the file");
});

test("config set with an empty value removes the setting", async () => {
  using folder = scratch({ "config.json": '{ "node_id": "a", "task_user": "b" }' });
  expect((await agent(folder.path, ["config", "set", "node_id", ""])).out).toContain("node_id removed from");
  expect(JSON.parse(folder.read("config.json"))).toEqual({ task_user: "b" });
});

test("config path names the files read and the one written, also while a value is wrong", async () => {
  using folder = scratch({ "config.json": '{ "task_timeout": 30 }' });
  const { out } = await agent(folder.path, ["config", "path", "--json"]);
  expect(JSON.parse(out)).toMatchObject({
    read: [folder.at("config.json")],
    write: folder.at("config.json"),
  });
});

test("a reader that closes early is shown by the exit code alone", async () => {
  using folder = scratch();
  const child = Bun.spawn(
    [
      "sh",
      "-c",
      `{ sleep 0.2; "$0" --no-env-file "$1" config show; echo $? >&2; } | true`,
      process.execPath,
      main,
    ],
    {
      cwd: folder.path,
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  expect(await child.stderr.text()).toBe("141\n");
  expect(await child.exited).toBe(0);
});

test("hints name the program as it was called", () => {
  const hint = "Choose one:  noderax-agent config set node_name web-1";
  expect(asCalled(hint, "noderax-agent")).toBe(hint);
  expect(asCalled(hint, "agent-2")).toBe("Choose one:  agent-2 config set node_name web-1");
  expect(asCalled(hint, "cara-agent")).toBe("Choose one:  cara-agent -node-name web-1");
  expect(asCalled("or:  noderax-agent sandbox", "cara-agent")).toBe("or:  cara-agent sandbox");
  for (const kept of [
    "/etc/noderax-agent/config.json",
    "noderax-agent 0.1.0",
    "noderax-agent.service ended",
    "rc-service noderax-agent start failed",
  ])
    expect(asCalled(kept, "cara-agent")).toBe(kept);
});

test.each([
  ["noderax-agent", "/x", false, "noderax-agent"],
  ["./noderax-agent", "/x", false, "./noderax-agent"],
  ["dist/noderax-agent", "/x", false, "dist/noderax-agent"],
  ["/x/dist/noderax-agent", "/x", false, "dist/noderax-agent"],
  ["../noderax-agent", "/x/y", false, "/x/noderax-agent"],
  ["/opt/agent/cara-agent", "/x", false, "/opt/agent/cara-agent"],
  ["/usr/bin/noderax-agent", "/x", true, "noderax-agent"],
  ["/opt/.noderax-agent-SeXLo9/noderax-agent", "/x", false, "noderax-agent"],
])("called as %s in %s (on the PATH: %p) it is typed as %s", (argv0, cwd, isOnPath, path) => {
  expect(pathToType(argv0, cwd, isOnPath)).toBe(path);
});

test("hints have the path it was called by, and prose keeps the name", () => {
  const hint = "Start it:  noderax-agent run   (see /etc/noderax-agent/config.json)";
  expect(asCalled(hint, "noderax-agent", "./noderax-agent")).toBe(
    "Start it:  ./noderax-agent run   (see /etc/noderax-agent/config.json)",
  );
});

test("what is to be typed again is what was typed", () => {
  expect(typed("dev", { npm_lifecycle_event: "start" })).toBe("npm start --");
  expect(typed("sandbox", { npm_lifecycle_event: "start" })).toEndWith(" sandbox");
  expect(typed("dev", {})).toEndWith(" dev");
});

test("from source it is called noderax-agent, whatever runs it", () => {
  expect(calledAs("bun", false)).toBe("noderax-agent");
  expect(calledAs("cara-agent", false)).toBe("cara-agent");
  expect(calledAs("agent-2", true)).toBe("agent-2");
});

test("the name it was called by is the last part of argv0", () => {
  expect(invokedAs("./bin/cara-agent")).toBe("cara-agent");
  expect(invokedAs("noderax-agent")).toBe("noderax-agent");
});
