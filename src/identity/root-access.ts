// Keeps the root-access profile of this node: what the operator asked for, less what the owner of the machine
// refuses.
//
// Applying a profile means storing it: the agent is root and drops to an unprivileged user for everything
// else, so there is nothing to install. What the owner refuses is left out, and the reason is reported to the
// operator. A profile is in force at once, also when it cannot be stored: one that takes root away must not
// wait for a disk, and the control plane repeats it before it asks for anything.
import type { Database } from "bun:sqlite";
import { messageOf } from "../lib/agent-error.ts";
import { backoff } from "../lib/backoff.ts";
import { type SteadyTime, isoOf, steadyNow } from "../lib/clock.ts";
import { minutes } from "../lib/duration.ts";
import { retry } from "../control/retry.ts";
import type { ServerClock } from "../control/server-clock.ts";
import type { Migration } from "../platform/database.ts";
import type { Log } from "../platform/log.ts";
import {
  type AppliedRootAccess,
  type DesiredRootAccess,
  ROOT_SURFACES,
  type RootProfile,
  type RootSurface,
  allows,
  profileOf,
  rootProfileNamed,
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
  /** Applies the profile that the server sent; ignores one that is older than the last. Never throws. */
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
  /** The server's `updatedAt`. */
  desired_at: string | null;
  /** By the server's clock. */
  applied_at: string;
}

/** Reasons to refuse root, by surface: the agent is not root, or the owner forbids it. */
export type RootVetoes = Readonly<Partial<Record<RootSurface, string>>>;

/** An older snapshot that is repeated for so long, with no newer one between, is no late one: the server was restored. */
const WENT_BACK_AFTER = minutes(2);

/**
 * Returns whether a snapshot was made before the last one. A time ahead of the server's clock counts as the time at which
 * it was received, so that it does not block what comes later. Without a time a snapshot is never outdated.
 */
function isOutdated({ updatedAt }: DesiredRootAccess, { desired_at, applied_at }: Row): boolean {
  const last = Math.min(Date.parse(desired_at ?? ""), Date.parse(applied_at));
  return Date.parse(updatedAt ?? "") < last;
}

export interface RootAccessPorts {
  readonly database: Database;
  /** Why root is refused here whatever the control plane wants. */
  readonly vetoes: RootVetoes;
  readonly serverClock: Pick<ServerClock, "at">;
  readonly log: Log;
}

/** Creates the root access state from the database. `clock` is the steady clock. */
export function createRootAccess(
  { database, vetoes, serverClock, log }: RootAccessPorts,
  clock: () => SteadyTime = steadyNow,
): RootAccess {
  const listeners: (() => void)[] = [];
  let row = database.query<Row, []>("SELECT desired, desired_at, applied_at FROM root_access").get();
  let unstored: { readonly why: string; readonly failures: number; readonly retryAt: SteadyTime } | undefined;
  let older: { readonly snapshot: string; readonly since: SteadyTime } | undefined;
  const wanted = (): RootProfile => rootProfileNamed(row?.desired ?? "off") ?? "off";
  const wantedSurfaces = (): RootSurface[] => ROOT_SURFACES.filter((surface) => allows(wanted(), surface));
  const profile = (): RootProfile =>
    profileOf(wantedSurfaces().filter((surface) => vetoes[surface] === undefined));

  /** Returns whether the server no longer knows what it said before. */
  function wentBack(snapshot: string): boolean {
    if (older?.snapshot !== snapshot) older = { snapshot, since: clock() };
    return clock() - older.since >= WENT_BACK_AFTER;
  }

  function store({ desired, desired_at, applied_at }: Row): void {
    try {
      database
        .query<null, [string, string | null, string]>(
          "INSERT OR REPLACE INTO root_access VALUES (1, ?, ?, ?)",
        )
        .run(desired, desired_at, applied_at);
      unstored = undefined;
    } catch (error) {
      const failures = (unstored?.failures ?? 0) + 1;
      const why = `the root access profile could not be stored: ${messageOf(error)}`;
      if (failures === 1) log.error("root-access", why);
      unstored = { why, failures, retryAt: clock() + backoff(retry.local, failures, Math.random) };
    }
  }

  function apply({ profile: desired, updatedAt }: DesiredRootAccess): void {
    row = { desired, desired_at: updatedAt ?? null, applied_at: isoOf(serverClock.at(clock())) };
    unstored = undefined;
    store(row);
    const { appliedProfile = "off", lastError } = report();
    log.info("root-access", `the profile ${appliedProfile} is in force`, {
      desired,
      error: lastError ?? undefined,
    });
    for (const listener of listeners) listener();
  }

  function report(): AppliedRootAccess {
    const problems = new Set(wantedSurfaces().flatMap((surface) => vetoes[surface] ?? []));
    if (row !== null && rootProfileNamed(row.desired) === undefined)
      problems.add(`this agent does not know the profile "${row.desired}", which counts as off: update it`);
    if (unstored !== undefined) problems.add(unstored.why);
    return {
      appliedProfile: profile(),
      ...(row === null ? {} : { lastAppliedAt: row.applied_at }),
      lastError: problems.size === 0 ? null : [...problems].join("; "),
    };
  }

  return {
    desire(snapshot) {
      const { profile: desired, updatedAt } = snapshot;
      if (row?.desired === desired && row.desired_at === (updatedAt ?? null)) {
        older = undefined;
        if (unstored !== undefined && clock() >= unstored.retryAt) store(row);
        return;
      }
      if (row !== null && isOutdated(snapshot, row) && !wentBack(`${desired} ${updatedAt}`)) return;
      older = undefined;
      apply(snapshot);
    },
    onChange: (listener) => void listeners.push(listener),
    profile,
    refusal: (surface) => vetoes[surface],
    report,
  };
}
