// Every agent-facing route of the miniature Noderax API.
import type { Log } from "../../platform/log.ts";
import { type ClaimRoutePorts, claimRoutes } from "./claim.ts";
import { enrollmentRoutes } from "./enrollment.ts";
import { heartbeatRoutes } from "./heartbeat.ts";
import { installRoutes } from "./installs.ts";
import { lifecycleRoutes } from "./lifecycle.ts";
import { metricsRoutes } from "./metrics.ts";
import type { ApiRoute } from "./route.ts";
import { updateRoutes } from "./updates.ts";

export function agentRoutes(
  ports: ClaimRoutePorts & { readonly registrationSecret: string; readonly log: Log },
): ApiRoute[] {
  const { store, timings, registrationSecret, log } = ports;
  return [
    ...enrollmentRoutes(store, timings, log),
    ...installRoutes(store),
    ...heartbeatRoutes(store, registrationSecret),
    ...metricsRoutes(store),
    ...claimRoutes(ports),
    ...lifecycleRoutes(store, timings, log),
    ...updateRoutes(store),
  ];
}
