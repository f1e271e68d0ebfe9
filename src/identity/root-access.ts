// The root-access profile of this node: what the operator wants, what the machine's owner lets happen, what is in force.
//
// Applying a profile is remembering it: the agent is root and drops to an unprivileged user for everything else, so
// there is nothing to install. It can be refused, and then "off" is in force and the operator is told why.
import type { Database } from "bun:sqlite";
import type { Migration } from "../platform/database.ts";
import {
  type AppliedRootAccess,
  type DesiredRootAccess,
  ROOT_PROFILES,
  type RootProfile,
} from "../protocol/noderax/root-access.ts";

export const rootAccessMigration: Migration = {
  name: "root-access-1",
  sql: `CREATE TABLE root_access (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    desired TEXT NOT NULL,
    desired_at TEXT,
    applied_at TEXT NOT NULL
  ) STRICT;`,
};

export interface RootAccess {
  /** Takes a snapshot from the server; an older one than the last is ignored. */
  desire(snapshot: DesiredRootAccess): void;
  /** The profile in force. */
  profile(): RootProfile;
  /** Why root is refused here, whatever the profile says. */
  refusal(): string | undefined;
  /** What is told to the server with every claim. */
  report(): AppliedRootAccess;
}

interface Row {
  desired: string;
  desired_at: string | null;
  applied_at: string;
}

/** `refusal`: why this machine gives no root (the agent is not root, the owner forbids it), if so. */
export function createRootAccess(database: Database, refusal: string | undefined): RootAccess {
  let row = database.query<Row, []>("SELECT desired, desired_at, applied_at FROM root_access").get();
  const wanted = (): RootProfile => ROOT_PROFILES.find((profile) => profile === row?.desired) ?? "off";
  const profile = (): RootProfile => (refusal === undefined ? wanted() : "off");

  return {
    desire({ profile: desired, updatedAt }) {
      if (row !== null && row.desired_at !== null && Date.parse(updatedAt ?? "") < Date.parse(row.desired_at))
        return;
      if (row?.desired === desired && row.desired_at === (updatedAt ?? null)) return;
      row = { desired, desired_at: updatedAt ?? null, applied_at: new Date().toISOString() };
      database
        .query<null, [string, string | null, string]>(
          "INSERT OR REPLACE INTO root_access VALUES (1, ?, ?, ?)",
        )
        .run(row.desired, row.desired_at, row.applied_at);
    },
    profile,
    refusal: () => refusal,
    report() {
      const error = refusal !== undefined && wanted() !== "off" ? refusal : null;
      return {
        appliedProfile: profile(),
        ...(row === null ? {} : { lastAppliedAt: row.applied_at }),
        lastError: error,
      };
    },
  };
}
