// The error that reaches people keeps its code, its hints and what caused it.
import { expect, test } from "bun:test";
import { AgentError, exit, hasCode, messageOf, httpStatusOf } from "../../../src/lib/agent-error.ts";

test("without options an error has no hint and exits with 1", () => {
  const { code, message, hint, exit: status, cause } = new AgentError("net.reset", "it broke");
  expect({ code, message, hint, status, cause }).toEqual({
    code: "net.reset",
    message: "it broke",
    hint: [],
    status: exit.failed,
    cause: undefined,
  });
});

test("one hint and several hints are both a list of lines", () => {
  expect(new AgentError("net.reset", "b", { hint: "look" }).hint).toEqual(["look"]);
  expect(new AgentError("net.reset", "b", { hint: ["look", "again"] }).hint).toEqual(["look", "again"]);
});

test("what was caught stays reachable as the cause", () => {
  const cause = new Error("ECONNRESET");
  expect(new AgentError("net.reset", "b", { cause }).cause).toBe(cause);
});

test("anything that was thrown has a text", () => {
  expect([new Error("x"), "y", undefined, 7].map(messageOf)).toEqual(["x", "y", "undefined", "7"]);
});

test("a code is found in an AgentError only, and among those that are asked for", () => {
  const error = new AgentError("http.status", "no", { status: 404 });
  expect([hasCode(error, "http.status"), hasCode(error, "aborted", "http.answer")]).toEqual([true, false]);
  expect(hasCode(Object.assign(new Error("no"), { code: "http.status" }), "http.status")).toBe(false);
  expect([httpStatusOf(error), httpStatusOf(new Error("no")), httpStatusOf(undefined)]).toEqual([
    404,
    undefined,
    undefined,
  ]);
});
