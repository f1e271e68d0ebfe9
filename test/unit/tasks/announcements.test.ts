// When a claim leaves, by what the server has announced.
import { describe, expect, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { Announcements } from "../../../src/tasks/announcements.ts";

const announce = (to: Announcements, id: string): void =>
  to.received({ type: "task.dispatch", task: { id } });

/** A claim, during which `meanwhile` happens, that brings the task. */
function claim(of: Announcements, id: string | undefined, meanwhile?: () => void): boolean {
  const due = of.claims();
  meanwhile?.();
  of.answered(id, due);
  return due;
}

/** One that listens, and has claimed whatever there was. */
function listening(): Announcements {
  const announcements = new Announcements();
  claim(announcements, "first", () => announce(announcements, "first"));
  claim(announcements, undefined);
  expect(announcements.listening).toBe(true);
  return announcements;
}

const isDue = async (announcements: Announcements): Promise<boolean> => {
  const never = new AbortController();
  const due = await Promise.race([
    announcements.untilDue(seconds(60), never.signal).then(() => true),
    Bun.sleep(0).then(() => false),
  ]);
  never.abort();
  return due;
};

describe("claims wait on the server", () => {
  test("as long as no task is announced", async () => {
    const announcements = new Announcements();
    claim(announcements, undefined);
    claim(announcements, "one");
    expect(announcements.listening).toBe(false);
    expect(await isDue(announcements)).toBe(true);
  });

  test("when another task was announced than the one that came", () => {
    const announcements = new Announcements();
    claim(announcements, "one", () => announce(announcements, "other"));
    expect(announcements.listening).toBe(false);
  });

  test("after a task that nobody announced", () => {
    const announcements = listening();
    expect(claim(announcements, "silent")).toBe(false);
    expect(announcements.listening).toBe(false);
  });

  test("after the end of the session, at once", async () => {
    const announcements = listening();
    const due = announcements.untilDue(seconds(60), new AbortController().signal);
    announcements.sessionEnded();
    await due;
    expect(announcements.listening).toBe(false);
  });
});

describe("claims follow announcements", () => {
  test("once one was announced in time, in either case of its id", () => {
    const announcements = new Announcements();
    claim(announcements, "abc", () => announce(announcements, "ABC"));
    expect(announcements.listening).toBe(true);
  });

  test("at once, then until an answer is empty", async () => {
    const announcements = listening();
    expect(await isDue(announcements)).toBe(false);
    announce(announcements, "one");
    expect(await isDue(announcements)).toBe(true);
    expect(claim(announcements, "one")).toBe(true);
    expect(await isDue(announcements)).toBe(true);
    expect(claim(announcements, "not announced, behind it")).toBe(true);
    expect(claim(announcements, undefined)).toBe(true);
    expect(await isDue(announcements)).toBe(false);
    expect(announcements.listening).toBe(true);
  });

  test("also when one comes while a claim is under way that finds nothing", async () => {
    const announcements = listening();
    claim(announcements, undefined, () => announce(announcements, "one"));
    expect(await isDue(announcements)).toBe(true);
    expect(claim(announcements, "one")).toBe(true);
    expect(announcements.listening).toBe(true);
  });

  test.each([
    {},
    null,
    "x",
    { task: null },
    { task: { id: 7 } },
    { task: { id: "../x" } },
    { task: { id: "x".repeat(65) } },
  ])("but not %j", async (body) => {
    const announcements = listening();
    announcements.received(body);
    expect(await isDue(announcements)).toBe(false);
  });
});
