// The ingress routes as they are now: made anew when the assignment or the look at Docker changed, and not before.
import type { Log } from "../../platform/log.ts";
import type { DesiredProject } from "../plan/desired.ts";
import type { Snapshot } from "../plan/engine.ts";
import { type ProjectRoute, ingressWarnings, ingressRoutesOf } from "../plan/ingress-table.ts";

export interface RoutesPorts {
  readonly desired: () => readonly DesiredProject[];
  readonly snapshot: () => Snapshot | undefined;
  readonly log: Log;
}

/** Each call answers with the same array as long as nothing changed. Rules that lead nowhere are logged once. */
export function createRoutes({ desired, snapshot, log }: RoutesPorts): () => readonly ProjectRoute[] {
  let made: { desired: readonly DesiredProject[]; snapshot: Snapshot | undefined } | undefined;
  let routes: readonly ProjectRoute[] = [];
  let told: readonly string[] = [];

  return () => {
    const now = { desired: desired(), snapshot: snapshot() };
    if (made?.desired === now.desired && made.snapshot === now.snapshot) return routes;
    if (made?.desired !== now.desired) {
      const warnings = ingressWarnings(now.desired);
      for (const text of warnings) if (!told.includes(text)) log.warn("ingress", text);
      told = warnings;
    }
    made = now;
    return (routes = ingressRoutesOf(now.desired, now.snapshot));
  };
}
