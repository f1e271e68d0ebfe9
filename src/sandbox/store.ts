// Opens the sandbox's database: one table for each entity, made and brought up to date from the entity's columns.
import type { Database } from "bun:sqlite";
import { join } from "node:path";
import { openDatabase } from "../platform/database.ts";
import { type Entity, type RowOf, columnSql, tableSql } from "./column.ts";
import {
  CARA_NODES,
  CHUNKS,
  ENROLLMENTS,
  EVENTS,
  INSTALLS,
  LOGS,
  METRICS,
  NODES,
  PROJECTS,
  REPORTS,
  TASKS,
  TERMINALS,
  UPDATE_TARGETS,
} from "./entities.ts";
import { Table } from "./table.ts";

const ENTITIES = {
  nodes: NODES,
  enrollments: ENROLLMENTS,
  installs: INSTALLS,
  tasks: TASKS,
  logs: LOGS,
  metrics: METRICS,
  events: EVENTS,
  updateTargets: UPDATE_TARGETS,
  terminals: TERMINALS,
  chunks: CHUNKS,
  caraNodes: CARA_NODES,
  projects: PROJECTS,
  reports: REPORTS,
};

type Tables = { readonly [Name in keyof typeof ENTITIES]: Table<RowOf<(typeof ENTITIES)[Name]>> };

export interface Store extends Tables {
  close(): void;
}

/** Opens `<directory>/sandbox.db`, or a database in memory. Throws as `openDatabase` does. */
export function openStore(directory?: string): Store {
  const path = directory === undefined ? ":memory:" : join(directory, "sandbox.db");
  const database = openDatabase(path, []);
  database.transaction(() => Object.values(ENTITIES).forEach((of) => bringUpToDate(database, of)))();
  const tables = Object.entries(ENTITIES).map(([name, of]) => [name, new Table(database, of)]);
  // Entry by entry these are the tables of `Tables`; `Object.fromEntries` forgets the names.
  return { ...(Object.fromEntries(tables) as Tables), close: () => database.close() };
}

/** Makes the table, or adds and drops columns until it has those of the entity: databases of older versions stay usable. */
function bringUpToDate(database: Database, of: Entity): void {
  for (const statement of tableSql(of)) database.run(statement);
  const present = database.query<{ name: string }, []>(`PRAGMA table_info(${of.table})`).all();
  const names = new Set(present.map(({ name }) => name));
  for (const [name, column] of Object.entries(of.columns))
    if (!names.delete(name)) database.run(`ALTER TABLE ${of.table} ADD COLUMN ${columnSql(name, column)}`);
  for (const name of names) database.run(`ALTER TABLE ${of.table} DROP COLUMN "${name}"`);
}

/** Now, or `offset` milliseconds from now, as the wire writes times. */
export const isoNow = (offset = 0): string => new Date(Date.now() + offset).toISOString();
