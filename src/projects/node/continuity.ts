// Tracks whether the server still has the data with which it assigned a project to this node ("memory" below).
//
// A server that was restarted on an empty database answers 404 for every project, also after this node registered with it
// again. So a 404 proves a deletion only while the memory is the one that listed the project last. A memory is named by the
// time at which the server registered this node and by the number of losses seen.
import type { Database } from "bun:sqlite";
import type { Migration } from "../../platform/database.ts";
import type { Log } from "../../platform/log.ts";
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";

export const continuityMigration: Migration = {
  name: "caravanserai-continuity",
  // `registered` is NULL until the server has reported when it registered the node.
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
  /** The name of the server's present memory; undefined while unknown. */
  memory(): string | undefined;
  /** When the memory changed last; an answer requested before says nothing about it. */
  changedAt(): SteadyTime;
  /** The server reported when it registered this node ("" when it does not say): another time is another memory. */
  registeredAt(time: string): void;
  /** The server lost its data: a 404 no longer proves that a project assigned before was deleted. On disk on return. */
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
      log.warn(
        "orphans",
        `${reason}: projects that it no longer knows are not removed until a person decides`,
      );
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
      change(time, registered === null ? undefined : "the server has registered this node again");
    },
    forgot(reason) {
      if (registered !== null) change(null, reason);
    },
  };
}
