// The loop by which the agent updates itself, where its owner has set update_allow to auto.
import { hours } from "../lib/duration.ts";
import { type LoopRegistry, loop } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import { retry } from "../control/retry.ts";
import { ownService } from "../platform/service.ts";
import { AGENT_UNIT } from "../platform/systemd.ts";
import { startUpdater } from "../platform/updater-unit.ts";

type UpdateSettings = Pick<Settings, "update_allow" | "update_channel_url" | "state_file">;

/** Returns why this agent does not update itself; undefined when it does. Pure. */
export function noOwnUpdates(
  { update_allow: allow, update_channel_url: place }: UpdateSettings,
  service: string | undefined,
): string | undefined {
  if (allow !== "auto") return `update_allow is ${allow}`;
  if (place === undefined) return "update_channel_url is not set";
  return service === AGENT_UNIT ? undefined : `it does not run as ${AGENT_UNIT}`;
}

/**
 * Starts the updater once an hour, which asks the place and obeys window and pin, until `signal` aborts; resolves at once where
 * the owner wants none. The first time is a random part of the hour away: a fleet must not update in one moment.
 */
export async function ownUpdates(
  settings: UpdateSettings,
  registry: LoopRegistry,
  signal: AbortSignal,
): Promise<void> {
  if (noOwnUpdates(settings, ownService()) !== undefined) return;
  await loop(
    { name: "update", every: hours(1), spread: 0.25, phase: "random", retry: retry.local },
    () => startUpdater(["--unattended"], settings),
    registry,
    signal,
  );
}
