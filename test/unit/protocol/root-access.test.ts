// A root-access profile in a form that is none costs nothing else; one of an unknown name is passed on, and counts as off.
import { expect, test } from "bun:test";
import * as v from "valibot";
import { AuthAck, RootAccessUpdated } from "../../../src/protocol/noderax/realtime.ts";
import { ClaimAnswer } from "../../../src/protocol/noderax/tasks.ts";

const task = { id: "task-1", type: "shell.exec", status: "accepted" };
const ack = { authenticated: true, nodeId: "n" };
const GOD = { profile: "god", updatedAt: null };
const MALFORMED = [{ profile: 7 }, { profile: "off", updatedAt: 7 }, {}, null, "all"];

test.each(MALFORMED)("a claim that comes with %j still hands out its task", (rootAccess) => {
  const answer = v.parse(ClaimAnswer, { task, rootAccess });
  expect(answer.task).toEqual(task);
  expect(answer.rootAccess).toBeUndefined();
});

test.each(MALFORMED)("an authentication that comes with %j still lets in", (rootAccess) => {
  expect(v.parse(AuthAck, { ...ack, rootAccess }).rootAccess).toBeUndefined();
});

test("a known one is taken, and none is none", () => {
  const rootAccess = { profile: "task", updatedAt: "2026-01-01T00:00:00.000Z" } as const;
  expect(v.parse(ClaimAnswer, { task, rootAccess }).rootAccess).toEqual(rootAccess);
  expect(v.parse(AuthAck, { ...ack, rootAccess }).rootAccess).toEqual(rootAccess);
  expect(v.parse(ClaimAnswer, { task: null }).rootAccess).toBeUndefined();
});

test("one of an unknown name is taken as it is: what it counts for is not the wire's matter", () => {
  expect(v.parse(ClaimAnswer, { task, rootAccess: GOD })).toMatchObject({ task, rootAccess: GOD });
  expect(v.parse(AuthAck, { ...ack, rootAccess: GOD }).rootAccess).toEqual(GOD);
  expect(v.is(RootAccessUpdated, { rootAccess: GOD })).toBe(true);
  const { profile } =
    v.parse(AuthAck, { ...ack, rootAccess: { profile: "\u001b[2J".repeat(99) } }).rootAccess ?? {};
  expect(profile).not.toContain("\u001b");
  expect(profile?.length).toBeLessThan(500);
});

test("pushed alone, one in another form is no event of the contract", () => {
  expect(v.is(RootAccessUpdated, { rootAccess: { profile: 7 } })).toBe(false);
});
