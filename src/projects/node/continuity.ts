// Tells whether the server still has the memory under which it assigned a project to this node.
//
// A server that was restarted on an empty database answers 404 for every project, and so does one that this node has
// registered with again since. So a 404 proves a deletion only while the memory is the one that listed the project last.
// The memory is named by when the server registered this node, and by how often it was seen to forget.
import type { Database } from "bun:sqlite";
import type { Migration } from "../../platform/database.ts";
import type { Log } from "../../platform/log.ts";
import { steadyNow } from "../../lib/clock.ts";

export const continuityMigration: Migration = {
  name: "caravanserai-continuity",
  // `registered` is NULL until the server has told when it registered the node.
  sql: `CREATE TABLE server_memory (
    server TEXT NOT NULL,
    node TEXT NOT NULL,
    registered TEXT,
    losses INTEGER NOT NULL,
    PRIMARY KEY (server, node)
  ) STRICT;
  ALTER TABLE assigned_name ADD COLUMN memory TEXT`,
};

export interface Continuity {
  /** The name of the memory that the server answers from; undefined while that is not known. */
  memory(): string | undefined;
  /** When the memory changed last, on the steady clock; an answer asked for before says nothing about it. */
  changedAt(): number;
  /** The server has told when it registered this node ("" when it does not say): another time is another memory. */
  registeredAt(time: string): void;
  /** The server has forgotten: what it assigned before can no longer be proven deleted by a 404. On disk on return. */
  forgot(reason: string): void;
}

export function createContinuity(database: Database, server: string, node: string, log: Log): Continuity {
  let { registered, losses } = database
    .query<{ registered: string | null; losses: number }, [string, string]>(
      "SELECT registered, losses FROM server_memory WHERE server = ? AND node = ?",
    )
    .get(server, node) ?? { registered: null, losses: 0 };
  let changedAt = -Infinity;

  function change(next: string | null, reason: string | undefined): void {
    const isLoss = reason !== undefined;
    if (isLoss)
      log.warn("orphans", `${reason}: what it does not know any more is kept until a person decides`);
    registered = next;
    losses += isLoss ? 1 : 0;
    changedAt = steadyNow();
    database.run("INSERT OR REPLACE INTO server_memory VALUES (?, ?, ?, ?)", [
      server,
      node,
      registered,
      losses,
    ]);
  }

  return {
    memory: () => (registered === null ? undefined : `${losses} ${registered}`),
    changedAt: () => changedAt,
    registeredAt(time) {
      if (time === registered) return;
      change(time, registered === null ? undefined : "the server has registered this node anew");
    },
    forgot(reason) {
      if (registered !== null) change(null, reason);
    },
  };
}
