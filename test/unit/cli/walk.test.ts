// Reading argv: every spelling that Go's flag package accepts, and an error for everything else.
import { expect, test } from "bun:test";
import type { AgentError } from "../../../src/lib/agent-error.ts";
import { dispatch } from "../../../src/cli/cli.ts";
import { type Command, command } from "../../../src/cli/command.ts";
import { configFlags, settingsOf } from "../../../src/cli/config-flags.ts";

interface Call {
  readonly command: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly rest: readonly string[];
}

/** A small program that records the arguments of its commands. */
function program(): { root: Command; calls: Call[] } {
  const calls: Call[] = [];
  const enroll = command({
    name: "enroll",
    description: "enroll",
    args: {
      email: { type: "string", alias: ["e"] },
      "api-url": { type: "string" },
      level: { type: "enum", options: ["low", "high"] },
      json: { type: "boolean", alias: "j" },
      "dry-run": { type: "boolean", default: true },
    },
    run: ({ args, rest }) => void calls.push({ command: "enroll", args: { ...args }, rest }),
  });
  const set = command({
    name: "set",
    description: "set",
    args: { key: { type: "positional", required: true }, value: { type: "positional", required: false } },
    run: ({ args, rest }) =>
      void calls.push({ command: "set", args: { key: args.key, value: args.value }, rest }),
  });
  const exec = command({
    name: "exec",
    description: "exec",
    args: { node: { type: "positional", required: true } },
    rest: { name: "word", description: "words", required: true },
    run: ({ args, rest }) => void calls.push({ command: "exec", args: { node: args.node }, rest }),
  });
  const run = command({
    name: "run",
    description: "run",
    args: { ...configFlags },
    run: ({ args, rest }) =>
      void calls.push({ command: "run", args: Object.fromEntries(settingsOf(args)), rest }),
  });
  const both = command({
    name: "both",
    description: "group that runs by itself",
    args: { port: { type: "string" } },
    subCommands: { set },
    run: ({ args, rest }) => void calls.push({ command: "both", args: { port: args.port }, rest }),
  });
  const group = command({ name: "group", description: "group", subCommands: { set } });
  const lazy = (): Promise<{ default: Command }> => Promise.resolve({ default: exec });
  return {
    root: command({
      name: "test",
      description: "test",
      subCommands: { run, enroll, group, both, exec: lazy },
    }),
    calls,
  };
}

async function call(...argv: string[]): Promise<Call> {
  const { root, calls } = program();
  await dispatch(root, argv);
  expect(calls).toHaveLength(1);
  return calls[0] ?? { command: "", args: {}, rest: [] };
}

async function refusal(...argv: string[]): Promise<AgentError> {
  const { root, calls } = program();
  const error: AgentError = await dispatch(root, argv).then(
    () => Promise.reject(new Error("was accepted")),
    (error: AgentError) => error,
  );
  expect(calls).toEqual([]);
  expect(error.exit).toBe(2);
  return error;
}

test.each([
  [["--email", "a@b"]],
  [["--email=a@b"]],
  [["-email", "a@b"]],
  [["-email=a@b"]],
  [["-e", "a@b"]],
  [["-e=a@b"]],
])("a value is taken from %p", async (argv) => {
  expect((await call("enroll", ...argv)).args).toMatchObject({ email: "a@b" });
});

test("underscores in a flag are dashes", async () => {
  expect((await call("enroll", "-api_url", "x")).args["api-url"]).toBe("x");
  expect((await call("-otel_collector_url=x")).args).toEqual({ otel_collector_url: "x" });
});

test.each([
  [["--json"], true],
  [["-json"], true],
  [["-j"], true],
  [["-json=false"], false],
  [["--json=T"], true],
  [["--no-json"], false],
  [["--no-json=false"], true],
  [["--json", "--no-json"], false],
])("the boolean in %p is %p", async (argv, json) => {
  expect((await call("enroll", ...argv)).args["json"]).toBe(json);
});

test("a boolean that is on by default can be switched off", async () => {
  expect((await call("enroll")).args["dry-run"]).toBe(true);
  expect((await call("enroll", "--no-dry-run")).args["dry-run"]).toBe(false);
});

test("a negative number is a value, not a flag", async () => {
  expect((await call("enroll", "--email", "-5")).args["email"]).toBe("-5");
  expect((await call("group", "set", "latitude", "-33.8")).args).toEqual({ key: "latitude", value: "-33.8" });
});

test("a value may begin with a dash or hold an equals sign and line breaks", async () => {
  expect((await call("enroll", "--email", "-x=y")).args["email"]).toBe("-x=y");
  expect((await call("enroll", "--email=a=b\nc")).args["email"]).toBe("a=b\nc");
  expect((await call("enroll", "--email=")).args["email"]).toBe("");
});

test("a command gets the arguments it declares, under those names alone", async () => {
  const given = ["-e", "a@b", "-api_url", "x", "-j=0"];
  const args = { email: "a@b", "api-url": "x", json: false, "dry-run": true };
  expect(await call("enroll", ...given)).toStrictEqual({ command: "enroll", args, rest: [] });
});

test("a value may be written like a flag, a separator or a boolean", async () => {
  for (const text of ["--no-json", "--", "-", "--no-", "true", "__proto__"])
    expect((await call("enroll", `--email=${text}`)).args["email"]).toBe(text);
  expect((await call("group", "set", "--", "--no-value", "--value=x")).args).toEqual({
    key: "--no-value",
    value: "--value=x",
  });
});

test("-- ends the flags", async () => {
  expect(await call("exec", "n1", "--", "ls", "--help", "-l")).toMatchObject({
    args: { node: "n1" },
    rest: ["ls", "--help", "-l"],
  });
  expect((await call("group", "set", "k", "--", "-secret")).args["value"]).toBe("-secret");
});

test("the last of a flag that stands twice applies", async () => {
  expect((await call("enroll", "--email", "a", "-e", "b")).args["email"]).toBe("b");
});

test("without a command the agent runs, with the flags of both Go agents", async () => {
  expect((await call()).command).toBe("run");
  const { command, args } = await call(
    "-debug",
    "-server-url",
    "http://x",
    "-agent-port=9191",
    "-node_name",
    "n",
  );
  expect(command).toBe("run");
  expect(args).toEqual({ server_url: "http://x", node_name: "n", listen_port: "9191", debug: "true" });
});

test("a command that runs by itself also has commands", async () => {
  expect((await call("both", "--port", "1")).command).toBe("both");
  expect((await call("both", "set", "k")).command).toBe("set");
});

test.each([
  [["enroll", "--emial", "a"], "unknown flag --emial (did you mean --email?)"],
  [["enroll", "-apiurl=x"], "unknown flag -apiurl (did you mean --api-url?)"],
  [["enroll", "--qqqqqqqq"], "unknown flag --qqqqqqqq"],
  [["enrol"], "unknown command enrol (did you mean enroll?)"],
  [["group", "sett"], "unknown command group sett (did you mean group set?)"],
  [["both", "sett"], "unknown command both sett (did you mean both set?)"],
  [["group"], "group needs a command: set"],
  [["enroll", "--email"], "flag --email needs a value"],
  [["enroll", "--email", "--json"], "flag --email needs a value"],
  [["enroll", "--json=maybe"], "--json=maybe: must be true or false"],
  [["enroll", "--level", "mid"], '--level: "mid" must be one of low, high'],
  [["enroll", "--no-email"], "unknown flag --no-email"],
  [["enroll", "extra"], 'unexpected argument "extra"'],
  [["group", "set"], "missing <key>"],
  [["group", "set", "a", "b", "c"], 'unexpected argument "c"'],
  [["exec", "n1"], "missing <word>"],
  [["--log-level", "debug", "enroll"], "flags go after the command: noderax-agent enroll …"],
  [["constructor"], "unknown command constructor"],
  [["help", "nothing"], "unknown command nothing"],
])("%p is refused: %s", async (argv, message) => {
  expect((await refusal(...argv)).message).toBe(message);
});
