// The control plane's side of package tasks: payloads as the original makes them, results read as strictly as it reads them.
import { describe, expect, test } from "bun:test";
import type { TaskDocument } from "../../../src/sandbox/documents.ts";
import { packageAnswerOf, packageTaskOf } from "../../../src/sandbox/noderax/packages.ts";

describe("the task of a request", () => {
  test.each([
    ["list", [], { type: "packageList", payload: {} }],
    [
      "search",
      ["web", "server"],
      { type: "packageSearch", payload: { term: "web server", query: "web server" } },
    ],
    [
      "install",
      ["curl"],
      {
        type: "packageInstall",
        payload: { names: ["curl"], packages: ["curl"], package: "curl", purge: false },
      },
    ],
    [
      "purge",
      ["a", "b"],
      { type: "packagePurge", payload: { names: ["a", "b"], packages: ["a", "b"], purge: true } },
    ],
  ])("%s %j", (action, words, task) => {
    expect(packageTaskOf(action, words)).toEqual(task);
  });

  test.each([
    ["upgrade", ["a"], "none of list, search"],
    ["list", ["a"], "takes no words"],
    ["search", [], "needs words"],
    ["install", [], "at least one"],
    ["install", ["a", "a"], "named once"],
    ["install", ["x".repeat(256)], "1 to 255"],
  ])("%s %j is refused", (action, words, why) => {
    expect(packageTaskOf(action, words)).toContain(why);
  });
});

const task = (fields: Partial<TaskDocument>): TaskDocument =>
  ({ status: "success", type: "packageList", result: null, output: null, ...fields }) as TaskDocument;

describe("the answer of a task", () => {
  test("a success without its collection is a failure, as for the original", () => {
    for (const result of [null, {}, { packages: "a" }, { packages: [{ version: "1" }] }, { results: [] }])
      expect(packageAnswerOf(task({ result })).error).toBe(
        "Task completed without a structured package result.",
      );
    expect(packageAnswerOf(task({ type: "packageSearch", result: { packages: [] } })).error).not.toBeNull();
  });

  test("an empty collection is an answer", () => {
    expect(packageAnswerOf(task({ result: { packages: [] } }))).toEqual({ packages: [], error: null });
  });

  test("a failure names its error, else its output, else its status", () => {
    const failed = { status: "failed", type: "packageInstall" } as const;
    expect(packageAnswerOf(task({ ...failed, result: { error: "held" }, output: "log" })).error).toBe("held");
    expect(packageAnswerOf(task({ ...failed, output: " log\n" })).error).toBe("log");
    expect(packageAnswerOf(task(failed)).error).toBe("the task ended as failed");
  });
});
