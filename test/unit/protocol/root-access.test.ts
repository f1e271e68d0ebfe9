// A root-access profile that only a newer control plane knows: it is no profile, and it costs nothing else.
import { expect, test } from "bun:test";
import * as v from "valibot";
import { AuthAck, RootAccessUpdated } from "../../../src/protocol/noderax/realtime.ts";
import { ClaimAnswer } from "../../../src/protocol/noderax/tasks.ts";

const task = { id: "task-1", type: "shell.exec", status: "accepted" };
const ack = { authenticated: true, nodeId: "n" };
const UNKNOWN = [
  { profile: "god", updatedAt: null },
  { profile: 7 },
  { profile: "off", updatedAt: 7 },
  {},
  null,
  "all",
];

test.each(UNKNOWN)("a claim that comes with %j still hands out its task", (rootAccess) => {
  const answer = v.parse(ClaimAnswer, { task, rootAccess });
  expect(answer.task).toEqual(task);
  expect(answer.rootAccess).toBeUndefined();
});

test.each(UNKNOWN)("an authentication that comes with %j still lets in", (rootAccess) => {
  expect(v.parse(AuthAck, { ...ack, rootAccess }).rootAccess).toBeUndefined();
});

test("a known one is taken, and none is none", () => {
  const rootAccess = { profile: "task", updatedAt: "2026-01-01T00:00:00.000Z" } as const;
  expect(v.parse(ClaimAnswer, { task, rootAccess }).rootAccess).toEqual(rootAccess);
  expect(v.parse(AuthAck, { ...ack, rootAccess }).rootAccess).toEqual(rootAccess);
  expect(v.parse(ClaimAnswer, { task: null }).rootAccess).toBeUndefined();
});

test("pushed by itself, an unknown one is no event of the contract", () => {
  expect(v.is(RootAccessUpdated, { rootAccess: { profile: "god" } })).toBe(false);
});
