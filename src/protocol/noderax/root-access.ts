// Root-access profiles: what an operator allows to run as root on a node, in three surfaces.
//
// The desired profile reaches the agent with every claim answer (and the realtime session); the agent reports
// the profile it applied with every claim. The API authorises by the applied one; the agent checks again
// before it acts.
import * as v from "valibot";
import { printable } from "../../lib/printable.ts";

export const ROOT_PROFILES = [
  "off",
  "operational",
  "task",
  "terminal",
  "operational_task",
  "operational_terminal",
  "task_terminal",
  "all",
] as const;
export type RootProfile = (typeof ROOT_PROFILES)[number];

/**
 * operational: package changes, `apt-get update`, `reboot`, agent restart, root log scan;
 * task: any shell command; terminal: root shells.
 */
export const ROOT_SURFACES = ["operational", "task", "terminal"] as const;
export type RootSurface = (typeof ROOT_SURFACES)[number];

/** Returns whether a profile gives root for a surface. */
export function allows(profile: RootProfile, surface: RootSurface): boolean {
  return profile === "all" || profile.split("_").includes(surface);
}

/** Returns the profile that allows exactly these surfaces. */
export const profileOf = (surfaces: readonly RootSurface[]): RootProfile =>
  ROOT_PROFILES.find((profile) =>
    ROOT_SURFACES.every((surface) => allows(profile, surface) === surfaces.includes(surface)),
  ) ?? "off";

/**
 * The profile the operator asked for. A newer server may send one that is unknown here: it counts as `off`.
 * `updatedAt` is null until the first change.
 */
export const DesiredRootAccess = v.object({
  profile: v.pipe(
    v.string(),
    v.transform((profile) => printable(profile.slice(0, 64))),
  ),
  updatedAt: v.nullish(v.string()),
});
export type DesiredRootAccess = v.InferOutput<typeof DesiredRootAccess>;

/** Returns the profile of this name; undefined for an unknown one. */
export const rootProfileNamed = (name: string): RootProfile | undefined =>
  ROOT_PROFILES.find((profile) => profile === name);

/** As part of an answer: undefined for one in another form, so that the rest is still accepted. */
export const AnsweredRootAccess = v.fallback(v.optional(DesiredRootAccess), undefined);

/** The profile the agent applied. Leave out an empty `lastAppliedAt`, which is refused with 400. */
export interface AppliedRootAccess {
  appliedProfile?: RootProfile;
  lastAppliedAt?: string;
  lastError?: string | null;
}
