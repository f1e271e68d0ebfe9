// Renders src/agent/schema.sql, the whole schema of the agent's database, from the migrations of its parts.
import { Database } from "bun:sqlite";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { AGENT_MIGRATIONS } from "../src/agent/schema.ts";

export const SCHEMA_PATH = join(import.meta.dir, "../src/agent/schema.sql");

/** What each table keeps, and the file that owns it. */
const PURPOSES: Readonly<Record<string, string>> = {
  outbox:
    "control/outbox.ts: calls that the control plane has not answered yet, in order within a queue (`lane`: a task)",
  tasks: "tasks/journal.ts: every task that was claimed, with its phase; the last ones also after their end",
  payloads: "tasks/journal.ts: the payloads of unfinished tasks, as JSON",
  open_claim: "tasks/journal.ts: until when a claim of an earlier process may still be answered (a Moment)",
  root_access:
    "identity/root-access.ts: the root profile that the control plane wants, and when it was applied",
  location_refused: "identity/location/report.ts: control planes that refuse `agent.auth` with a location",
  terminals: "terminal/session-store.ts: terminals whose end the control plane has not acknowledged",
  assignment: "projects/node/assignment.ts: the last list of projects from the Caravanserai server, one row",
  assigned_name:
    "projects/node/assigned-names.ts: names of projects that a server ever assigned to this node",
  server_memory:
    "projects/node/continuity.ts: since when the server remembers this node; it changes after a loss",
  node_drain: "projects/node/drain.ts: one row while the node is being drained",
  pull_failure:
    "projects/reconcile/pull-memory.ts: images that could not be pulled, with the time of the next try",
  ended_job:
    "projects/reconcile/ended-jobs.ts: containers whose job is done, which Docker forgets on a restart",
  made: "projects/reconcile/records.ts: Docker objects that this node created, by Docker's id",
  making: "projects/reconcile/records.ts: Docker objects whose creation was requested and not confirmed",
};

/** Throws for a table without a purpose. */
export function renderSchema(): string {
  const database = new Database(":memory:");
  for (const { sql } of AGENT_MIGRATIONS) database.run(sql);
  const objects = database
    .query<{ type: string; name: string; sql: string }, []>(
      "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid",
    )
    .all();
  const head =
    "-- The agent's database (state.db), after all migrations. Rendered by `npm run format`; do not edit.";
  return [head, ...objects.map(renderObject)].join("\n") + "\n";
}

function renderObject({ type, name, sql }: { type: string; name: string; sql: string }): string {
  if (type === "index") return `${sql};`;
  const purpose = PURPOSES[name];
  if (purpose === undefined) throw new Error(`.ci/schema.ts does not say what the table ${name} is for`);
  // A column that was added later stands on the line of the last one.
  const columns = sql.replaceAll(/\s*,\s+(?=\w+ (TEXT|INTEGER|REAL|BLOB))/g, ",\n  ");
  const indented = columns.replaceAll(/\n\s+(?=\S)/g, "\n  ").replace(/\s*\) STRICT$/, "\n) STRICT");
  return `\n-- ${purpose}\n${indented.replace(/\(\s*(?=\w+ (TEXT|INTEGER))/, "(\n  ")};`;
}

if (import.meta.main) writeFileSync(SCHEMA_PATH, renderSchema());
