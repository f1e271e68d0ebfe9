// Stores whether this node takes no more projects: a row in the agent's database, so that it survives restarts.
import type { Database } from "bun:sqlite";
import type { Migration } from "../../platform/database.ts";

export const drainMigration: Migration = {
  name: "caravanserai-drain",
  sql: "CREATE TABLE node_drain (since TEXT NOT NULL) STRICT",
};

export interface Drain {
  /** ISO time; undefined when the node does not drain. Read from disk each time: a command writes it beside the agent. */
  since(): string | undefined;
  start(): void;
  end(): void;
}

export function createDrain(database: Database): Drain {
  const read = database.query<{ since: string }, []>("SELECT since FROM node_drain LIMIT 1");
  const since = (): string | undefined => read.get()?.since;
  return {
    since,
    start() {
      if (since() === undefined)
        database.run("INSERT INTO node_drain VALUES (?)", [new Date().toISOString()]);
    },
    end: () => void database.run("DELETE FROM node_drain"),
  };
}
