// The report of an operation on packages, as its process hands it to the agent.
import * as v from "valibot";

const version = v.object({ name: v.string(), version: v.string() });
const upgrade = v.object({ name: v.string(), from: v.string(), to: v.string() });

export const PackageReport = v.object({
  manager: v.string(),
  installed: v.array(version),
  /** Also to an older version, where one was asked for. */
  upgraded: v.array(upgrade),
  removed: v.array(version),
  /** Configuration of packages that were removed before. */
  purged: v.array(version),
  /** Unpacked but not configured, or otherwise to be repaired, now. */
  broken: v.array(version),
  /** Asked for, and as they should be already. */
  unchanged: v.array(v.string()),
  /** Asked for, and not changed because they are held. */
  held: v.array(v.string()),
  conffilesKept: v.array(v.string()),
  /** Empty when no reboot is needed. */
  rebootReasons: v.array(v.string()),
  servicesToRestart: v.array(v.string()),
  warnings: v.array(v.string()),
  /** Why the operation failed; absent when it did what was asked. */
  error: v.optional(v.string()),
});
export type PackageReport = v.InferOutput<typeof PackageReport>;
