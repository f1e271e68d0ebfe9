// The names of the projects that this state directory was ever assigned and may have left something of on Docker.
//
// Other agents on the same Docker use the same labels: that our server does not know a project says something about it
// only if it was ours once.
import type { Database } from "bun:sqlite";
import type { Migration } from "../../platform/database.ts";

export const assignedNamesMigration: Migration = {
  name: "caravanserai-assigned-names",
  // By server: what another one assigned is not this one's to speak of.
  sql: `CREATE TABLE assigned_name (
    id INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (server, name)
  ) STRICT`,
};

/** The oldest make way: what is left of them stays, which is better than a removal too many. */
const NAMES_MAX = 10_000;

export interface AssignedNames {
  has(name: string): boolean;
  all(): readonly string[];
  /** The memory of the server that listed the name last (see continuity.ts); undefined when it was not known. */
  memory(name: string): string | undefined;
  /** On disk when it returns, so that nothing is made that a later run does not know for its own. */
  add(names: readonly string[], memory: string | undefined): void;
  /** Nothing of it is left: whoever makes something of that name from now on is somebody else. */
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
