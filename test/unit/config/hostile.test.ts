// Files made to hurt: they are refused in words, quickly, and change nothing.
import { expect, test } from "bun:test";
import { scratch, textOf } from "./scratch.ts";
import { cpuTime } from "../../support/cpu-time.ts";

test("keys of Object's prototype are unknown keys like any other", async () => {
  using folder = scratch({
    "config.json": '{ "node_id": "n", "__proto__": {"task_user": "root"}, "constructor": 1, "toString": 2 }',
    "config.yaml": "node_id: n\n__proto__:\n  task_user: root\n",
  });
  const text = textOf(await folder.refuses());
  for (const key of ["__proto__", "constructor", "toString"]) expect(text).toContain(`unknown key ${key}`);
  expect(Object.hasOwn(Object.prototype, "task_user")).toBe(false);
});

test.each([
  ["config.json", `{ "task_user": ${"[".repeat(400_000)}${"]".repeat(400_000)} }`],
  ["config.json", `{ "task_user": ${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)} }`],
  ["config.yaml", `task_user: ${"[".repeat(5_000)}${"]".repeat(5_000)}`],
])("a deeply nested %s is refused", async (name, text) => {
  using folder = scratch({ [name]: text });
  expect((await folder.refuses()).exit).toBe(2);
});

test("a file of a megabyte is read within a second", async () => {
  using folder = scratch({ "config.json": `{ "task_user": "a"${" ".repeat(1_000_000)} }` });
  const used = cpuTime();
  expect((await folder.load()).settings.task_user).toBe("a");
  expect(used()).toBeLessThan(1_000);
});

const keys = ['"node_id": "n"', ...Array.from({ length: 50_000 }, (_, index) => `"key${index}": ${index}`)];
test.each([
  ["config.json", `{${keys.join(",\n")}}`],
  ["config.yaml", keys.join("\n")],
])(
  "fifty thousand unknown keys in %s are refused in seconds, and only some of them listed",
  async (name, text) => {
    using folder = scratch({ [name]: text });
    const used = cpuTime();
    expect((await folder.refuses()).hint.length).toBeLessThan(20);
    expect(used()).toBeLessThan(4_000);
  },
);

test("a file above a megabyte is refused when it is named, and passed over when it is found", async () => {
  using folder = scratch({ "config.json": `{ "task_user": "${"x".repeat(1_100_000)}" }` });
  expect((await folder.refuses({ configFile: "config.json" })).message).toContain("larger than 1 MiB");
  expect((await folder.load()).warnings.join()).toContain("larger than 1 MiB");
});

test("a value of a megabyte is refused in one short line", async () => {
  using folder = scratch({ "config.json": `{ "task_timeout": "${"9".repeat(900_000)}" }` });
  expect((await folder.refuses()).message.length).toBeLessThan(400);
});

test("a byte order mark and CRLF are read over", async () => {
  using folder = scratch({
    "config.json": '\ufeff{\r\n  "task_user": "a"\r\n}\r\n',
    "config.yaml": "\ufefflog_level: warn\r\nnode_id: n\r\n",
    ".env": "\ufeffNODE_NAME=n1\r\nTASK_TIMEOUT=5m\r\n",
  });
  const { settings, origins } = await folder.load();
  expect(settings).toMatchObject({
    task_user: "a",
    log_level: "warn",
    node_id: "n",
    node_name: "n1",
    task_timeout: 300_000,
  });
  expect(origins.get("task_user")).toEqual({ from: "file", path: folder.at("config.json"), line: 2 });
});

test("YAML aliases that would grow without end are not expanded", async () => {
  const levels = Array.from({ length: 12 }, (_, n) => `a${n + 1}: &a${n + 1} [${`*a${n},`.repeat(9)}*a${n}]`);
  using folder = scratch({ "config.yaml": `a0: &a0 [x]\n${levels.join("\n")}\ntask_user: *a12\n` });
  const used = cpuTime();
  expect((await folder.refuses()).exit).toBe(2);
  expect(used()).toBeLessThan(1_000);
});

test("a YAML alias of one value is that value", async () => {
  using folder = scratch({ "config.yaml": "node_name: &n web\ntask_user: *n\n" });
  expect((await folder.load()).settings.task_user).toBe("web");
});

test("control characters in a value are refused", async () => {
  using folder = scratch({ "config.json": '{ "agent_token": "a\\r\\nX-Evil: 1" }' });
  expect((await folder.refuses()).message).toContain("control characters");
});
