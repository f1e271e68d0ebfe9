// The names that the node of this state directory has and had: a host that is renamed still knows what it made before.
import type { Database } from "bun:sqlite";
import type { Migration } from "../platform/database.ts";

export const ownNodesMigration: Migration = {
  name: "caravanserai-own-nodes",
  sql: `CREATE TABLE own_node (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
  ) STRICT`,
};

/** A host that gets another name at every boot must not fill the disk with them. */
const NAMES_MAX = 100;

/** With `node` in it, on disk. */
export function ownNodes(database: Database, node: string): ReadonlySet<string> {
  database.transaction(() => {
    database.run("INSERT OR REPLACE INTO own_node (name) VALUES (?)", [node]);
    database.run("DELETE FROM own_node WHERE id <= (SELECT max(id) FROM own_node) - ?", [NAMES_MAX]);
  })();
  const rows = database.query<{ name: string }, []>("SELECT name FROM own_node").all();
  return new Set(rows.map(({ name }) => name));
}
