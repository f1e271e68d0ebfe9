// Promises of the record of updates: what is remembered of an end, and what a damaged file costs.
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compareVersions } from "../../../../src/install/update/release.ts";
import {
  type UpdateOutcome,
  type UpdateRecord,
  readUpdateRecord,
  recordEnd,
  writeUpdateRecord,
} from "../../../../src/install/update/state.ts";

const record = (to: string, rest: Partial<UpdateRecord> = {}): UpdateRecord => ({
  failed: [],
  ...rest,
  attempt: {
    from: "0.2.0",
    to,
    phase: "watching",
    startedAt: "2026-11-26T12:00:00.000Z",
    changedAt: "2026-11-26T12:00:00.000Z",
    note: "",
    oldSha256: "a".repeat(64),
    newSha256: "b".repeat(64),
  },
});

const ended = (before: UpdateRecord, outcome: UpdateOutcome): UpdateRecord =>
  recordEnd(
    before,
    { outcome, reason: "why" },
    { iso: "2026-11-26T12:01:00.000Z", epoch: 7 },
    (a, b) => compareVersions(a, b) > 0,
  );

test("a version that was rolled back is remembered, one that works is forgiven", () => {
  const bad = ended(record("0.3.0"), "rolled back");
  expect(bad.failed).toEqual([{ version: "0.3.0", at: 7, reason: "why" }]);
  expect(ended(record("0.3.0", bad), "confirmed").failed).toEqual([]);
  // Before the switch nothing was learnt of it: the network or the disk may be to blame.
  expect(ended(record("0.3.0"), "failed").failed).toEqual([]);
  const many = Array.from({ length: 40 }, (_, index) => ({ version: `0.1.${index}`, at: 1, reason: "" }));
  expect(ended(record("0.3.0", { failed: many }), "rolled back").failed).toHaveLength(16);
});

test("the highest version is one that was confirmed, or ran before", () => {
  expect(ended(record("0.3.0"), "confirmed").highest).toBe("0.3.0");
  expect(ended(record("0.3.0"), "unproven").highest).toBe("0.2.0");
  expect(ended(record("0.3.0"), "rolled back").highest).toBe("0.2.0");
  expect(ended(record("0.1.0", { highest: "0.5.0" }), "confirmed").highest).toBe("0.5.0");
});

test("the record is one file for root alone, and a damaged one is an empty one", () => {
  const directory = mkdtempSync(join(tmpdir(), "record-"));
  try {
    const written = record("0.3.0");
    writeUpdateRecord(directory, written);
    expect(readUpdateRecord(directory)).toEqual(written);
    const path = join(directory, "update.json");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    for (const damage of ["", "{", "[]", '{"failed":[],"attempt":{"phase":"flying"}}']) {
      writeFileSync(path, damage);
      expect(readUpdateRecord(directory)).toEqual({ failed: [] });
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
