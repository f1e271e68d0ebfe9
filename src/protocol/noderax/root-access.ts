// Root-access profiles: what an operator allows to run as root on a node, in three surfaces.
//
// The desired profile reaches the agent with every claim answer (and the realtime session); the agent reports the
// profile it applied with every claim. The API authorises by the applied one; the agent checks again before it acts.
import * as v from "valibot";

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

export function allows(profile: RootProfile, surface: RootSurface): boolean {
  return profile === "all" || profile.split("_").includes(surface);
}

/** The profile that allows just these surfaces. */
export const profileOf = (surfaces: readonly RootSurface[]): RootProfile =>
  ROOT_PROFILES.find((profile) =>
    ROOT_SURFACES.every((surface) => allows(profile, surface) === surfaces.includes(surface)),
  ) ?? "off";

/** What the operator wants. `updatedAt` is null until it was changed for the first time. */
export const DesiredRootAccess = v.object({
  profile: v.picklist(ROOT_PROFILES),
  updatedAt: v.nullish(v.string()),
});
export type DesiredRootAccess = v.InferOutput<typeof DesiredRootAccess>;

/** As part of an answer: a profile that only a newer server knows must not cost the rest of the answer. */
export const AnsweredRootAccess = v.fallback(v.optional(DesiredRootAccess), undefined);

/** What the agent has applied. An empty `lastAppliedAt` is refused with 400: leave it out. */
export interface AppliedRootAccess {
  appliedProfile?: RootProfile;
  lastAppliedAt?: string;
  lastError?: string | null;
}
