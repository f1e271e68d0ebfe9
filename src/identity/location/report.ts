// Keeps where this node stands and whether the control plane takes it.
//
// Some versions of the API refuse `agent.auth` with a location and close the session, which is an alert. So it is only ever
// sent on a session that is authenticated, and never again to a server that refused it.
import type { Database } from "bun:sqlite";
import type { Migration } from "../../platform/database.ts";
import type { Location } from "../../protocol/noderax/location.ts";

export const locationMigration: Migration = {
  name: "location-1",
  sql: `CREATE TABLE location_refused (
    api_url TEXT PRIMARY KEY
  ) STRICT;`,
};

export interface LocationStatus {
  readonly location: Location;
  /** waiting (for a session), accepted, refused (by this control plane, for good). */
  readonly state: "waiting" | "accepted" | "refused";
}

export interface LocationReport {
  /** Sets what is reported from now on. */
  found(location: Location): void;
  /** What the next `agent.auth` on an authenticated session carries; undefined when there is nothing to report. */
  due(): Location | undefined;
  accepted(location: Location): void;
  /** The session ended instead of an ack; `message` is the server's refusal, undefined where none came. */
  failed(message: string | undefined): void;
  /** Undefined while no location is known. */
  status(): LocationStatus | undefined;
}

/** The text with which the API refuses an event for an unknown key. */
const UNKNOWN_KEY = "Bad Request Exception";
/** Sessions that ended for another reason while it was sent; then it counts as refused until the next start. */
const FAILURES_MAX = 2;

/** `refused` is called once, when the control plane at `apiUrl` has refused the location. */
export function createLocationReport(
  database: Database,
  apiUrl: string,
  refused: () => void,
): LocationReport {
  const isRefused = (): boolean =>
    database.query<object, [string]>("SELECT 1 FROM location_refused WHERE api_url = ?").get(apiUrl) !== null;
  let location: Location | undefined;
  let state: LocationStatus["state"] = isRefused() ? "refused" : "waiting";
  let failures = 0;

  return {
    found(next) {
      location = next;
      if (state === "accepted") state = "waiting";
    },
    due: () => (state === "waiting" ? location : undefined),
    accepted(sent) {
      if (sent === location) state = "accepted";
    },
    failed(message) {
      failures++;
      if (message !== UNKNOWN_KEY && failures < FAILURES_MAX) return;
      state = "refused";
      if (message !== UNKNOWN_KEY) return;
      database.query<null, [string]>("INSERT OR IGNORE INTO location_refused VALUES (?)").run(apiUrl);
      refused();
    },
    status: () => (location === undefined ? undefined : { location, state }),
  };
}
