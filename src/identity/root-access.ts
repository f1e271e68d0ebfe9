// Keeps the root-access profile of this node: what the operator asked for, less what the owner of the machine
// refuses.
//
// Applying a profile means storing it: the agent is root and drops to an unprivileged user for everything
// else, so there is nothing to install. What the owner refuses is left out, and the reason is reported to the
// operator.
import type { Database } from "bun:sqlite";
import type { Migration } from "../platform/database.ts";
import {
  type AppliedRootAccess,
  type DesiredRootAccess,
  ROOT_PROFILES,
  ROOT_SURFACES,
  type RootProfile,
  type RootSurface,
  allows,
  profileOf,
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
  /** Stores the profile that the server sent; ignores one that is older than the last. */
  desire(snapshot: DesiredRootAccess): void;
  /** Calls the listener after every change of what is desired. */
  onChange(listener: () => void): void;
  /** The profile in force. */
  profile(): RootProfile;
  /** Returns why the owner refuses root for `surface`; undefined where the profile decides. */
  refusal(surface: RootSurface): string | undefined;
  /** Returns what is sent with every claim and authentication. */
  report(): AppliedRootAccess;
}

interface Row {
  desired: string;
  desired_at: string | null;
  applied_at: string;
}

/** Reasons to refuse root, by surface: the agent is not root, or the owner forbids it. */
export type RootVetoes = Readonly<Partial<Record<RootSurface, string>>>;

/** Creates the root access state from the database. `vetoes` wins over what the control plane wants. */
export function createRootAccess(database: Database, vetoes: RootVetoes): RootAccess {
  const listeners: (() => void)[] = [];
  let row = database.query<Row, []>("SELECT desired, desired_at, applied_at FROM root_access").get();
  const wanted = (): RootProfile => ROOT_PROFILES.find((profile) => profile === row?.desired) ?? "off";
  const wantedSurfaces = (): RootSurface[] => ROOT_SURFACES.filter((surface) => allows(wanted(), surface));
  const profile = (): RootProfile =>
    profileOf(wantedSurfaces().filter((surface) => vetoes[surface] === undefined));

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
      for (const listener of listeners) listener();
    },
    onChange: (listener) => void listeners.push(listener),
    profile,
    refusal: (surface) => vetoes[surface],
    report() {
      const refused = new Set(wantedSurfaces().flatMap((surface) => vetoes[surface] ?? []));
      return {
        appliedProfile: profile(),
        ...(row === null ? {} : { lastAppliedAt: row.applied_at }),
        lastError: refused.size === 0 ? null : [...refused].join("; "),
      };
    },
  };
}
