// Waits until a service that was just started is healthy.
import { stateDirectory } from "../agent/agent.ts";
import { askStatus } from "../agent/control-socket.ts";
import { missingForHealth } from "../agent/health.ts";
import type { Config } from "../config/load.ts";
import { describeService, serviceState } from "../install/service.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { steadyNow } from "../lib/clock.ts";
import { type Duration, milliseconds, minutes } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";

const PAUSE = milliseconds(100);
/** A busy server answers within seconds, and three heartbeats fail within 30 s. */
const PATIENCE: Duration = minutes(1);

/**
 * Waits until the service is healthy, for a minute at most. Resolves with undefined when it is, else with what is missing;
 * at once when the service manager reports that the service failed. Throws "aborted" when interrupted.
 */
export async function whyNotHealthy(
  { settings, planes }: Pick<Config, "settings" | "planes">,
  signal: AbortSignal,
): Promise<string | undefined> {
  const end = steadyNow() + PATIENCE;
  let missing = "it did not start";
  while (!signal.aborted) {
    try {
      const status = await askStatus(stateDirectory(settings));
      const found = status === undefined ? undefined : missingForHealth(status, planes);
      if (status !== undefined && found === undefined) return undefined;
      missing = found ?? missing;
    } catch (error) {
      missing = messageOf(error);
    }
    const state = serviceState();
    if (state?.active === "failed") return `the service failed: ${describeService(state)}`;
    if (steadyNow() > end) return missing;
    await sleep(PAUSE, signal);
  }
  throw new AgentError("aborted", "interrupted", { exit: 130 });
}
