// Stores the names of the projects that were ever assigned to this node and of which something may be left on Docker.
//
// Other agents on the same Docker use the same labels: a 404 of our server means a deletion only for a project that was once
// assigned to this node.
import type { Database } from "bun:sqlite";
import type { Migration } from "../../platform/database.ts";

export const assignedNamesMigration: Migration = {
  name: "caravanserai-assigned-names",
  // By server: one server knows nothing about the projects of another.
  sql: `CREATE TABLE assigned_name (
    id INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (server, name)
  ) STRICT`,
};

/** Beyond this the oldest names are dropped: their objects stay on Docker, which is safer than removing too much. */
const NAMES_MAX = 10_000;

export interface AssignedNames {
  has(name: string): boolean;
  all(): readonly string[];
  /** The data generation of the server when it last listed the name (see continuity.ts); undefined when unknown. */
  memory(name: string): string | undefined;
  /** On disk when it returns, before anything is created, so that a later process knows what is ours. */
  add(names: readonly string[], memory: string | undefined): void;
  /** Nothing of it is left: later objects of that name are not ours. */
  forget(name: string): void;
}

export function createAssignedNames(database: Database, server: string, max = NAMES_MAX): AssignedNames {
  const names = new Map<string, string | undefined>(
    database
      .query<{ name: string; memory: string | null }, [string]>(
        "SELECT name, memory FROM assigned_name WHERE server = ? ORDER BY id",
      )
      .all(server)
      .map(({ name, memory }) => [name, memory ?? undefined]),
  );
  const forget = (name: string): void => {
    if (names.delete(name))
      database.run("DELETE FROM assigned_name WHERE server = ? AND name = ?", [server, name]);
  };
  const addAll = database.transaction((added: readonly string[], memory: string | undefined) => {
    for (const name of added) {
      names.set(name, memory);
      database.run(
        "INSERT INTO assigned_name (server, name, memory) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET memory = excluded.memory",
        [server, name, memory ?? null],
      );
    }
    for (const oldest of names.keys()) {
      if (names.size <= max) break;
      forget(oldest);
    }
  });
  return {
    has: (name) => names.has(name),
    all: () => [...names.keys()],
    memory: (name) => names.get(name),
    add(listed, memory) {
      const isNew = (name: string): boolean =>
        !names.has(name) || (memory !== undefined && names.get(name) !== memory);
      const added = listed.filter(isNew);
      if (added.length > 0) addAll(added, memory);
    },
    forget,
  };
}
