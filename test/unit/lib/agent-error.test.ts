// The error that reaches people keeps its code, its hints and what caused it.
import { expect, test } from "bun:test";
import { AgentError, exit, messageOf } from "../../../src/lib/agent-error.ts";

test("without options an error has no hint and exits with 1", () => {
  const { code, message, hint, exit: status, cause } = new AgentError("a.b", "it broke");
  expect({ code, message, hint, status, cause }).toEqual({
    code: "a.b",
    message: "it broke",
    hint: [],
    status: exit.failed,
    cause: undefined,
  });
});

test("one hint and several hints are both a list of lines", () => {
  expect(new AgentError("a", "b", { hint: "look" }).hint).toEqual(["look"]);
  expect(new AgentError("a", "b", { hint: ["look", "again"] }).hint).toEqual(["look", "again"]);
});

test("what was caught stays reachable as the cause", () => {
  const cause = new Error("ECONNRESET");
  expect(new AgentError("a", "b", { cause }).cause).toBe(cause);
});

test("anything that was thrown has a text", () => {
  expect([new Error("x"), "y", undefined, 7].map(messageOf)).toEqual(["x", "y", "undefined", "7"]);
});
