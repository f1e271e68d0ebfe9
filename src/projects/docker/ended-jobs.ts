// Stores which containers ended with 0 by themselves: Docker forgets how a container ended when it restarts, and a job that
// is done must not run again after a reboot.
import type { Database } from "bun:sqlite";
import type { Migration } from "../../platform/database.ts";

export const endedJobsMigration: Migration = {
  name: "caravanserai-ended-jobs",
  // `finished_at`: Docker's time of that end as text, to tell it from another end of the same container.
  sql: `CREATE TABLE ended_job (
    container TEXT PRIMARY KEY,
    finished_at TEXT NOT NULL
  ) STRICT`,
};

export interface EndedJobs {
  has(container: string, finishedAt: string): boolean;
  /** On disk when it returns. */
  add(container: string, finishedAt: string): void;
  /** Deletes the rows of all other containers. */
  keep(containers: ReadonlySet<string>): void;
}

export function createEndedJobs(database: Database): EndedJobs {
  const rows = database
    .query<{ container: string; finished_at: string }, []>("SELECT * FROM ended_job")
    .all();
  const jobs = new Map(rows.map(({ container, finished_at }) => [container, finished_at]));
  return {
    has: (container, finishedAt) => jobs.get(container) === finishedAt,
    add(container, finishedAt) {
      database.run("INSERT OR REPLACE INTO ended_job VALUES (?, ?)", [container, finishedAt]);
      jobs.set(container, finishedAt);
    },
    keep(containers) {
      for (const container of jobs.keys()) {
        if (containers.has(container)) continue;
        database.run("DELETE FROM ended_job WHERE container = ?", [container]);
        jobs.delete(container);
      }
    },
  };
}
