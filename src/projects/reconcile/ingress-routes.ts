// Provides the current ingress routes: makes them again only when the assignment or the snapshot changed.
import type { Log } from "../../platform/log.ts";
import type { DesiredProject } from "../plan/desired.ts";
import type { Snapshot } from "../plan/engine.ts";
import { type ProjectRoute, ingressWarnings, ingressRoutesOf } from "../plan/ingress-table.ts";

export interface IngressRoutesPorts {
  readonly desired: () => readonly DesiredProject[];
  readonly snapshot: () => Snapshot | undefined;
  readonly log: Log;
}

/** Each call returns the same array until something changed. Logs each rule that is not effective once. */
export function createIngressRoutes({
  desired,
  snapshot,
  log,
}: IngressRoutesPorts): () => readonly ProjectRoute[] {
  let made: { desired: readonly DesiredProject[]; snapshot: Snapshot | undefined } | undefined;
  let routes: readonly ProjectRoute[] = [];
  let logged: readonly string[] = [];

  return () => {
    const now = { desired: desired(), snapshot: snapshot() };
    if (made?.desired === now.desired && made.snapshot === now.snapshot) return routes;
    if (made?.desired !== now.desired) {
      const warnings = ingressWarnings(now.desired);
      for (const text of warnings) if (!logged.includes(text)) log.warn("ingress", text);
      logged = warnings;
    }
    made = now;
    return (routes = ingressRoutesOf(now.desired, now.snapshot));
  };
}
