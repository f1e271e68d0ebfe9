// What a stopped command may have left to cron and at.
import { expect, test } from "bun:test";
import { chownSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isRoot } from "../../../src/platform/account.ts";
import { readSchedules, scheduledNote } from "../../../src/tasks/run/schedules.ts";
import { temporaryDirectory } from "../../support/binary.ts";

const user = { name: "web", uid: 1_001 };
const note = (files: readonly (readonly ["at" | "crontab", number, number])[]): string | undefined =>
  scheduledNote(
    files.map(([scheduler, uid, changedAt]) => ({ scheduler, uid, changedAt })),
    user,
    5_000,
  );

test("schedules of this user that changed since the launch are named", () => {
  expect(note([["crontab", 1_001, 5_000]])).toStartWith("the crontab of web changed while this command ran");
  expect(note([["at", 1_001, 6_000]])).toStartWith("the at jobs of web changed");
  expect(
    note([
      ["at", 1_001, 6_000],
      ["crontab", 1_001, 7_000],
      ["at", 1_001, 8_000],
    ]),
  ).toStartWith("the at jobs and crontab of web changed");
});

test("those of other users, and earlier ones, are not", () => {
  expect(
    note([
      ["crontab", 1_001, 4_999],
      ["crontab", 0, 6_000],
      ["at", 1_002, 6_000],
    ]),
  ).toBeUndefined();
});

test.skipIf(!isRoot())("the files of all spools that exist are read (needs root)", () => {
  using directory = temporaryDirectory();
  const at = (...names: string[]): string => join(directory.path, ...names);
  mkdirSync(at("crontabs", "nested"), { recursive: true });
  mkdirSync(at("jobs"));
  writeFileSync(at("crontabs", "web"), "");
  chownSync(at("crontabs", "web"), 1_001, 0);
  writeFileSync(at("jobs", "a0001"), "");
  const changedAt = (...names: string[]): number => statSync(at(...names)).ctimeMs;
  expect(readSchedules({ crontab: [at("none"), at("crontabs")], at: [at("jobs")] })).toEqual([
    { scheduler: "crontab", uid: 1_001, changedAt: changedAt("crontabs", "web") },
    { scheduler: "at", uid: 0, changedAt: changedAt("jobs", "a0001") },
  ]);
});
