// Promises of the compiled executable: nothing in the working directory or the environment runs code in it.
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { runBinary, startBinary, temporaryDirectory } from "../support/binary.ts";
import { until } from "../support/until.ts";

const commands = [["--version"], ["config", "path"], ["config", "show"]];

/**
 * A directory as an attacker leaves it. Whatever runs writes the canary; whatever is read says "canary". The agent reads
 * `.env` itself, as settings and nothing else; Bun would read the other two of the name, and all of them as environment.
 */
function hostileDirectory() {
  const directory = temporaryDirectory();
  const at = (name: string): string => join(directory.path, name);
  const canary = at("canary");
  const bite = `require("node:fs").appendFileSync(${JSON.stringify(canary)}, "bitten\\n");`;
  const settings = "NODERAX_API_URL=http://canary.invalid\nAPI_URL=http://canary.invalid\n";
  const files = {
    "bite.cjs": bite,
    ".env": `BUN_OPTIONS=--preload ${at("bite.cjs")}\nNODE_OPTIONS=--require ${at("bite.cjs")}\n`,
    ".env.production": settings,
    ".env.local": settings,
    "settings.env": settings,
    "bunfig.toml": 'preload = ["./bite.cjs"]\n[run]\npreload = ["./bite.cjs"]\n',
    "package.json": JSON.stringify({
      name: "canary",
      main: "./bite.cjs",
      imports: { "#*": "./bite.cjs" },
      browser: { "node:fs": "./bite.cjs" },
      scripts: { "--version": "node bite.cjs", config: "node bite.cjs" },
    }),
    "tsconfig.json": JSON.stringify({
      compilerOptions: { baseUrl: ".", paths: { "*": ["./bite.cjs"] }, jsxImportSource: "canary" },
    }),
    ".npmrc": "node-options=--require ./bite.cjs\n",
    "index.js": bite,
    // What the bundled libraries look for at run time, if they do.
    ...Object.fromEntries(
      ["bufferutil", "utf-8-validate", "cpu-features", "dockerode", "consola", "canary"].map((name) => [
        `node_modules/${name}/index.js`,
        bite,
      ]),
    ),
  };
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(at(name)), { recursive: true });
    writeFileSync(at(name), text);
  }
  return {
    path: directory.path,
    at,
    bitten: () => existsSync(canary),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}
type Hostile = ReturnType<typeof hostileDirectory>;

/** Environments that make Bun or Node run code, or read settings, when they listen to them. */
const environments: Record<string, (hostile: Hostile) => Record<string, string>> = {
  "BUN_OPTIONS --preload": ({ at }) => ({ BUN_OPTIONS: `--preload ${at("bite.cjs")}` }),
  "BUN_OPTIONS --require": ({ at }) => ({ BUN_OPTIONS: `--require=${at("bite.cjs")}` }),
  "BUN_OPTIONS --config": ({ at }) => ({ BUN_OPTIONS: `--config=${at("bunfig.toml")}` }),
  "BUN_OPTIONS --env-file": ({ at }) => ({ BUN_OPTIONS: `--env-file=${at("settings.env")}` }),
  "BUN_OPTIONS --eval": ({ at }) => ({ BUN_OPTIONS: `--eval require("${at("bite.cjs")}")` }),
  BUN_INSPECT_PRELOAD: ({ at }) => ({ BUN_INSPECT_PRELOAD: at("bite.cjs") }),
  "NODE_OPTIONS --require": ({ at }) => ({ NODE_OPTIONS: `--require ${at("bite.cjs")}` }),
  NODE_PATH: ({ at }) => ({ NODE_PATH: at("node_modules") }),
  "HOME and XDG_CONFIG_HOME": ({ path }) => ({ HOME: path, XDG_CONFIG_HOME: path }),
};

describe.each(commands.map((command) => [command.join(" "), command] as const))("%s", (_, command) => {
  test("runs nothing and reads nothing of a hostile working directory", async () => {
    using hostile = hostileDirectory();
    const result = await runBinary(command, { cwd: hostile.path });
    expect(result).toMatchObject({ code: 0, stderr: "" });
    expect(hostile.bitten()).toBeFalse();
    expect(result.stdout).not.toContain("canary.invalid");
  });

  // Refusing to start (exit 1, an EvalError) is as good as ignoring.
  test.each(Object.entries(environments))(
    "runs nothing and reads nothing of %s",
    async (_name, environment) => {
      using hostile = hostileDirectory();
      const result = await runBinary(command, { env: environment(hostile) });
      expect([0, 1]).toContain(result.code);
      expect(hostile.bitten()).toBeFalse();
      expect(result.stdout).not.toContain("canary.invalid");
    },
  );

  test("refuses to start under BUN_INSPECT, before any program runs", async () => {
    const result = await runBinary(command, { env: { BUN_INSPECT: "ws://127.0.0.1:0/canary" } });
    expect(result).toMatchObject({ code: 1, stdout: "" });
  });

  test.each(["BUN_INSPECT_CONNECT_TO", "BUN_INSPECT_NOTIFY"])("calls no debugger of %s", async (name) => {
    using debuggers = listen();
    await runBinary(command, { env: { [name]: debuggers.url } });
    expect(debuggers.calls()).toBe(0);
  });
});

describe("the traps are live: a plain Bun falls into them", () => {
  const program = ["-p", "process.env.NODERAX_API_URL"];

  test("by the working directory", async () => {
    using hostile = hostileDirectory();
    const result = await runBinary(program, { cwd: hostile.path, file: process.execPath });
    expect(result.stdout).toContain("canary.invalid");
    expect(hostile.bitten()).toBeTrue();
  });

  test("by BUN_OPTIONS --preload", async () => {
    using hostile = hostileDirectory();
    const env = { BUN_OPTIONS: `--preload ${hostile.at("bite.cjs")}` };
    await runBinary(program, { env, file: process.execPath });
    expect(hostile.bitten()).toBeTrue();
  });

  test("by NODE_PATH", async () => {
    using hostile = hostileDirectory();
    const env = { NODE_PATH: hostile.at("node_modules") };
    await runBinary(["-e", 'require("bufferutil")'], { env, file: process.execPath });
    expect(hostile.bitten()).toBeTrue();
  });

  test("by BUN_INSPECT", async () => {
    const port = freePort();
    await using child = startBinary(["-e", "await Bun.sleep(60_000)"], {
      env: { BUN_INSPECT: `ws://127.0.0.1:${port}/canary` },
      file: process.execPath,
    });
    await until("somebody listens", () => answers(port));
    expect(child.pid).toBeGreaterThan(0);
  });

  test("by BUN_INSPECT_CONNECT_TO", async () => {
    using debuggers = listen();
    await using child = startBinary(["-e", "await Bun.sleep(60_000)"], {
      env: { BUN_INSPECT_CONNECT_TO: debuggers.url },
      file: process.execPath,
    });
    await debuggers.called;
    expect(child.pid).toBeGreaterThan(0);
  });
});

/** Somebody who waits to be called by a debuggee. */
function listen() {
  let calls = 0;
  const { promise: called, resolve } = Promise.withResolvers<void>();
  const open = (): void => {
    calls += 1;
    resolve();
  };
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { open, data() {} } });
  return {
    url: `tcp://127.0.0.1:${listener.port}`,
    calls: () => calls,
    called,
    [Symbol.dispose]: () => listener.stop(true),
  };
}

function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

/** True when somebody listens. */
const answers = (port: number): Promise<boolean> =>
  Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } }).then(
    (socket) => (socket.end(), true),
    () => false,
  );
