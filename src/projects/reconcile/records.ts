// Stores which objects this node created on Docker: the only proof of ownership, because a label can be copied.
//
//   begin ──▶ Docker creates it ──▶ made        after a crash in between, a snapshot finds what was begun
import type { Database } from "bun:sqlite";
import type { Migration } from "../../platform/database.ts";
import type { Snapshot } from "../plan/engine.ts";
import { networkName } from "../plan/names.ts";

export const recordsMigration: Migration = {
  name: "caravanserai-records",
  // `id` is Docker's id, of a volume its name. `fingerprint` is empty except for containers.
  sql: `CREATE TABLE made (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (kind, id)
  ) STRICT;
  CREATE TABLE making (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (kind, name)
  ) STRICT`,
};

export type ObjectKind = "container" | "network" | "volume";

/** An object that is being created. */
export interface Making {
  readonly kind: ObjectKind;
  readonly name: string;
  /** Of a container; empty otherwise. */
  readonly fingerprint: string;
}

export interface Records {
  has(kind: ObjectKind, id: string): boolean;
  /** Whether the creation of an object with this name and fingerprint was begun and its id was never recorded. */
  wasBegun(making: Making): boolean;
  /** To be called before Docker is asked. All changes are on disk on return. */
  begin(making: Making): void;
  /** Docker created it, or it existed and is ours. */
  made(making: Making, id: string): void;
  /** Docker refused to create it: an object of that name is not ours. */
  refused(making: Making): void;
  /** Deletes the records of objects that are missing in two snapshots in a row: one may have been created during a snapshot. */
  prune(snapshot: Pick<Snapshot, "projects">): void;
}

const keyOf = (kind: ObjectKind, id: string): string => `${kind} ${id}`;

export function createRecords(database: Database): Records {
  const made = new Set(
    database
      .query<{ kind: ObjectKind; id: string }, []>("SELECT kind, id FROM made")
      .all()
      .map(({ kind, id }) => keyOf(kind, id)),
  );
  const begun = new Map(
    database
      .query<Making, []>("SELECT kind, name, fingerprint FROM making")
      .all()
      .map((making) => [keyOf(making.kind, making.name), making]),
  );
  /** Begun by an earlier process: Docker is no longer creating them. */
  const earlier = new Set(begun.keys());
  let missing: ReadonlySet<string> = new Set();

  function add(kind: ObjectKind, id: string): void {
    made.add(keyOf(kind, id));
    database.run("INSERT OR IGNORE INTO made VALUES (?, ?)", [kind, id]);
  }
  function end({ kind, name }: Pick<Making, "kind" | "name">): void {
    begun.delete(keyOf(kind, name));
    earlier.delete(keyOf(kind, name));
    database.run("DELETE FROM making WHERE kind = ? AND name = ?", [kind, name]);
  }
  const settle = database.transaction((making: Making, id: string) => {
    add(making.kind, id);
    end(making);
  });

  function drop(key: string): void {
    const [kind = "", name = ""] = key.split(" ");
    if (made.delete(key)) database.run("DELETE FROM made WHERE kind = ? AND id = ?", [kind, name]);
  }

  return {
    has: (kind, id) => made.has(keyOf(kind, id)),
    wasBegun: ({ kind, name, fingerprint }) => begun.get(keyOf(kind, name))?.fingerprint === fingerprint,
    begin(making) {
      const { kind, name, fingerprint } = making;
      begun.set(keyOf(kind, name), making);
      earlier.delete(keyOf(kind, name));
      database.run("INSERT OR REPLACE INTO making VALUES (?, ?, ?)", [kind, name, fingerprint]);
    },
    made: (making, id) => settle(making, id),
    refused: end,
    prune(snapshot) {
      const present = presentIn(snapshot);
      const absent = new Set([...made, ...earlier].filter((key) => !present.has(key)));
      for (const key of absent) {
        if (!missing.has(key)) continue;
        drop(key);
        const making = earlier.has(key) ? begun.get(key) : undefined;
        if (making !== undefined) end(making);
      }
      missing = absent;
    },
  };
}

/** The keys of all objects by id, and of containers and networks also by name. */
function presentIn({ projects }: Pick<Snapshot, "projects">): ReadonlySet<string> {
  const present = new Set<string>();
  for (const [project, { containers, network, volumes }] of projects) {
    for (const { id, name } of containers) present.add(keyOf("container", id)).add(keyOf("container", name));
    if (network !== undefined)
      present.add(keyOf("network", network)).add(keyOf("network", networkName(project)));
    for (const name of volumes) present.add(keyOf("volume", name));
  }
  return present;
}
