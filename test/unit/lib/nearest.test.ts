// "did you mean" finds the word that was meant, and keeps silent rather than guess.
import { expect, test } from "bun:test";
import { nearest } from "../../../src/lib/nearest.ts";

const settings = ["api_url", "email", "log_level", "task_timeout", "request_timeout", "task_user"];

test.each([
  ["api_ulr", "api_url"],
  ["emial", "email"],
  ["Email", "email"],
  ["loglevel", "log_level"],
  ["tasktimeout", "task_timeout"],
  ["task_usr", "task_user"],
])("%s was meant to be %s", (typed, meant) => {
  expect(nearest(typed, settings)).toBe(meant);
});

test("a word that resembles none is met with silence", () => {
  expect(nearest("colour", settings)).toBeUndefined();
  expect(nearest("anything", [])).toBeUndefined();
});

test("of two words the closer one is offered", () => {
  expect(nearest("task_use", ["task_usage", "task_user"])).toBe("task_user");
});

test("a word that was not typed to its end is taken for that, before one with another letter", () => {
  expect(nearest("stat", ["start", "status", "stop"])).toBe("status");
  expect(nearest("statr", ["start", "status", "stop"])).toBe("start");
});
