// The record of updates on this machine: one 0600 file (update.json) in the state directory, written before each act.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { writeFileAtomic } from "../../platform/atomic-file.ts";
import { type FailedVersion } from "./policy.ts";

/**
 *   preparing ─→ ready ─→ switched ─→ watching ─→ over
 *       │                     └───────────┴→ rolling back ─→ over
 *       └→ over (failed: nothing was changed)
 *
 * preparing     the updater downloads, verifies and probes; nothing is exchanged yet
 * ready         the new executable is whole and lies beside the old one; from here on the watcher alone acts
 * switched      the new executable has the name of the program; the old process still runs
 * watching      the service was restarted, and is judged
 * rolling back  the old executable gets the name back
 * over          with an outcome
 */
export const UPDATE_PHASES = ["preparing", "ready", "switched", "watching", "rolling back", "over"] as const;
export type UpdatePhase = (typeof UPDATE_PHASES)[number];

/**
 * confirmed  the new version works
 * unproven   kept, although its control plane did not hear of it: nothing speaks against the new version
 * rolled back, failed (before the switch), superseded (somebody else exchanged the executable meanwhile)
 */
export const UPDATE_OUTCOMES = ["confirmed", "unproven", "rolled back", "failed", "superseded"] as const;
export type UpdateOutcome = (typeof UPDATE_OUTCOMES)[number];

/** Where the roll-out of a control plane is told how far the update is. */
const UpdateTarget = v.object({
  id: v.string(),
  apiUrl: v.string(),
  stateFile: v.string(),
  caFile: v.optional(v.string()),
});
export type UpdateTarget = v.InferOutput<typeof UpdateTarget>;

const Attempt = v.object({
  from: v.string(),
  to: v.string(),
  phase: v.picklist(UPDATE_PHASES),
  /** ISO, for people. */
  startedAt: v.string(),
  changedAt: v.string(),
  /** What is being done, in words. */
  note: v.string(),
  oldSha256: v.string(),
  newSha256: v.optional(v.string()),
  target: v.optional(UpdateTarget),
  outcome: v.optional(v.picklist(UPDATE_OUTCOMES)),
  /** Why it ended so, or why it is rolled back. */
  reason: v.optional(v.string()),
});
export type Attempt = v.InferOutput<typeof Attempt>;

const UpdateRecord = v.object({
  /** The highest version that was ever confirmed here. */
  highest: v.optional(v.string()),
  failed: v.array(v.object({ version: v.string(), at: v.number(), reason: v.string() })),
  /** The executable of before, which lies beside the program. */
  previous: v.optional(v.object({ version: v.string(), sha256: v.string() })),
  attempt: v.optional(Attempt),
});
export type UpdateRecord = v.InferOutput<typeof UpdateRecord>;

const EMPTY: UpdateRecord = { failed: [] };

export const updateRecordPath = (stateDirectory: string): string => join(stateDirectory, "update.json");

/** Returns the record; an empty one where there is none, or it cannot be parsed. */
export function readUpdateRecord(stateDirectory: string): UpdateRecord {
  try {
    const parsed = v.safeParse(
      UpdateRecord,
      JSON.parse(readFileSync(updateRecordPath(stateDirectory), "utf8")),
    );
    return parsed.success ? parsed.output : EMPTY;
  } catch {
    return EMPTY;
  }
}

/** Throws errors of the file system. */
export const writeUpdateRecord = (stateDirectory: string, record: UpdateRecord): void =>
  writeFileAtomic(updateRecordPath(stateDirectory), `${JSON.stringify(record, null, 2)}\n`);

/** How many failed versions are remembered. */
const FAILED_MAX = 16;

/** Returns the record after the end of its attempt: what failed is remembered, what works raises the highest version. Pure. */
export function recordEnd(
  record: UpdateRecord,
  end: { readonly outcome: UpdateOutcome; readonly reason: string },
  at: { readonly iso: string; readonly epoch: number },
  isNewer: (a: string, b: string) => boolean,
): UpdateRecord {
  const { attempt, failed, highest } = record;
  if (attempt === undefined) return record;
  const { to, from } = attempt;
  const others = failed.filter(({ version }) => version !== to);
  const failure: FailedVersion = { version: to, at: at.epoch, reason: end.reason };
  const isWorking = end.outcome === "confirmed" || end.outcome === "unproven";
  const isBad = end.outcome === "rolled back";
  const known = highest === undefined || isNewer(from, highest) ? from : highest;
  return {
    ...record,
    failed: isBad ? [failure, ...others].slice(0, FAILED_MAX) : isWorking ? others : failed,
    highest: end.outcome === "confirmed" && isNewer(to, known) ? to : known,
    attempt: { ...attempt, phase: "over", note: "", changedAt: at.iso, ...end },
  };
}
