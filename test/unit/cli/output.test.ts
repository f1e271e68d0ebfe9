// What commands print: columns, ages, colours only on a terminal.
import { expect, test } from "bun:test";
import { command } from "../../../src/cli/command.ts";
import { configFlags } from "../../../src/cli/config-flags.ts";
import { renderHelp, renderSettings } from "../../../src/cli/ui/help.ts";
import { age, painter, table } from "../../../src/cli/ui/output.ts";

const plain = painter({ isTTY: false }, {});

test("columns are as wide as their widest cell, also with colours and wide letters", () => {
  const { red } = painter({ isTTY: true }, {});
  expect(
    table(
      [
        ["a", "1", "x"],
        ["日本", "22", ""],
      ],
      ["name", "n", "state"],
    ),
  ).toEqual(["NAME  N   STATE", "a     1   x", "日本  22"]);
  expect(
    table([
      [red("ab"), "c"],
      ["abcd", "d"],
    ]),
  ).toEqual([`${red("ab")}    c`, "abcd  d"]);
});

test("an age is short, and a dash for undefined", () => {
  expect(age(1_000, 13_000)).toBe("12s");
  expect(age(0, 240_000)).toBe("4m");
  expect(age(undefined)).toBe("-");
});

test.each([
  [{ isTTY: false }, {}],
  [{ isTTY: true }, { NO_COLOR: "1" }],
  [{ isTTY: true }, { TERM: "dumb" }],
])("no colours with %p %p", (stream, env) => {
  expect(painter(stream, env).red("x")).toBe("x");
});

test("help shows usage, arguments, flags and examples, and settings in one line", async () => {
  const task = command({
    name: "logs",
    description: "print the output of a task",
    examples: ["task logs 7c1e"],
    args: { ...configFlags, id: { type: "positional", required: true, description: "the task" } },
    rest: { name: "file", description: "files" },
    run() {},
  });
  const help = await renderHelp(task, ["task", "logs"], plain);
  expect(help).toStartWith(
    "Print the output of a task.\n\nUsage: noderax-agent task logs <id> [file]… [flags]\n",
  );
  expect(help).toContain("--config FILE");
  expect(help).toContain("noderax-agent task logs 7c1e");
  expect(help).not.toContain("--heartbeat-interval");
  expect(help.split("\n").length).toBeLessThan(20);
  expect(renderSettings(task.args, plain)).toContain("--listen-port, --agent-port VALUE");
});
