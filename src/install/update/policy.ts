// Decides which version this node is updated to, and why not. Pure.
import type { EpochTime } from "../../lib/clock.ts";
import { type Duration, hours } from "../../lib/duration.ts";
import { compareVersions } from "./release.ts";
import { type TimeWindow, opensAt } from "../../lib/time-window.ts";

/** Who asks: the owner by the command, the control plane by a task, or the agent itself. */
export type Asker = "owner" | "control-plane" | "agent";

export interface Wanted {
  readonly by: Asker;
  /** Undefined: the pinned version, else the newest. */
  readonly version: string | undefined;
  readonly allowDowngrade: boolean;
}

export interface UpdateFacts {
  readonly current: string;
  /** The highest version that was ever confirmed here. */
  readonly highest: string | undefined;
  readonly latest: string;
  readonly offered: readonly string[];
  readonly failed: readonly FailedVersion[];
  readonly allow: "off" | "manual" | "control-plane" | "auto";
  readonly pin: string | undefined;
  readonly window: TimeWindow | undefined;
  readonly now: EpochTime;
}

export interface FailedVersion {
  readonly version: string;
  readonly at: EpochTime;
  readonly reason: string;
}

/** A version that failed is left alone for so long, unless somebody asks for it. */
export const FAILED_FOR: Duration = hours(24);

export type Choice =
  | { readonly do: "update"; readonly version: string }
  /** This version runs already. */
  | { readonly do: "nothing"; readonly version: string }
  /** `until`: when it is tried again; undefined when the owner has to act. */
  | {
      readonly do: "hold";
      readonly version: string;
      readonly why: string;
      readonly until: EpochTime | undefined;
    }
  /** `hint`: what the owner can type. */
  | { readonly do: "refuse"; readonly why: string; readonly hint: string };

const LEVELS = ["off", "manual", "control-plane", "auto"] as const;
const NEEDED: Readonly<Record<Asker, UpdateFacts["allow"]>> = {
  owner: "manual",
  "control-plane": "control-plane",
  agent: "auto",
};

/** Returns why the owner's settings forbid an update that `by` asks for; undefined when they allow it. */
export function forbidden(by: Asker, allow: UpdateFacts["allow"]): string | undefined {
  if (LEVELS.indexOf(allow) >= LEVELS.indexOf(NEEDED[by])) return undefined;
  return allow === "off"
    ? "the owner of this machine forbids updates (update_allow is off)"
    : `the owner of this machine allows no updates by ${by === "agent" ? "the agent itself" : "the control plane"} (update_allow is ${allow})`;
}

/** Decides what an asker gets. */
export function chooseVersion(wanted: Wanted, facts: UpdateFacts): Choice {
  const { by } = wanted;
  const { allow, pin, current } = facts;
  const no = forbidden(by, allow);
  if (no !== undefined) return refuse(no, "noderax-agent config set update_allow manual");
  const version = wanted.version ?? pin ?? facts.latest;
  if (pin !== undefined && version !== pin)
    return refuse(
      `the owner of this machine pinned version ${pin} (update_pin)`,
      `noderax-agent config set update_pin ""`,
    );
  if (version === current) return { do: "nothing", version };
  if (!facts.offered.includes(version))
    return refuse(
      `version ${version} is not offered; there are ${facts.offered.slice(0, 5).join(", ") || "none"}`,
      "noderax-agent update --check",
    );
  // Without a version there is no reason to go back: the place may only be behind.
  const isBehind = compareVersions(version, current) < 0;
  if (isBehind && wanted.version === undefined && pin === undefined)
    return { do: "nothing", version: current };
  const floor = highestOf(current, facts.highest);
  if (compareVersions(version, floor) < 0 && !wanted.allowDowngrade)
    return refuse(
      `version ${version} is older than ${floor}, which ran here`,
      `noderax-agent update --version ${version} --allow-downgrade`,
    );
  return by === "agent" ? holdBack(version, facts) : { do: "update", version };
}

/** Without an order, the agent waits for its window, and leaves alone what failed lately. */
function holdBack(version: string, { failed, now, window }: UpdateFacts): Choice {
  const failure = failed.find((one) => one.version === version);
  // A clock that was set back must not hold it for longer than that.
  const heldUntil = failure === undefined ? 0 : Math.min(failure.at, now) + FAILED_FOR;
  if (failure !== undefined && now < heldUntil)
    return { do: "hold", version, why: `it failed here: ${failure.reason}`, until: heldUntil };
  const opens = window === undefined ? now : opensAt(window, now);
  if (opens > now) return { do: "hold", version, why: "the window (update_window) is closed", until: opens };
  return { do: "update", version };
}

const refuse = (why: string, hint: string): Choice => ({ do: "refuse", why, hint });

const highestOf = (a: string, b: string | undefined): string =>
  b !== undefined && compareVersions(b, a) > 0 ? b : a;
