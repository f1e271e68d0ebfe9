// Why a command was killed from outside: the cause is named where it is known, and no wrong one is.
import { expect, test } from "bun:test";
import { killedText } from "../../../src/tasks/run/follow.ts";

const service = { name: "noderax-agent.service", invocation: "a1" };

test("a restart of the service that ends its tasks is named, and what to do about it", () => {
  const text = killedText({ service }, "b2");
  expect(text).toStartWith("killed by a stop or restart of noderax-agent.service");
  expect(text).toContain("KillMode=process");
  expect(text).not.toContain("memory");
});

test("within one start of the service both causes are possible", () => {
  const text = killedText({ service }, "a1");
  expect(text).toContain("noderax-agent.service");
  expect(text).toContain("or out of memory");
});

test("without such a service, memory is the guess", () => {
  expect(killedText({}, "a1")).toContain("(out of memory?)");
});
