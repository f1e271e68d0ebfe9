// Keeps a copy of the last list of projects in a file beside the database: when the database is damaged while the server
// is away, containers are supervised and routed nevertheless.
import { readFileSync, rmSync } from "node:fs";
import * as v from "valibot";
import { messageOf } from "../../lib/agent-error.ts";
import { writeFileAtomic } from "../../platform/atomic-file.ts";
import type { Log } from "../../platform/log.ts";

export interface AssignmentCopy {
  /** The items of the list; undefined when there is no copy from this server for this node, or it is damaged. */
  read(): readonly unknown[] | undefined;
  /** Replaces the copy. Never throws: on a failure the copy is removed, since an outdated one is worse than none. */
  write(items: readonly unknown[]): void;
}

const Copy = v.object({
  version: v.literal(1),
  server: v.string(),
  node: v.string(),
  items: v.array(v.unknown()),
});

/** Creates the copy at `path`, for the lists of this server for this node. */
export function createAssignmentCopy(path: string, server: string, node: string, log: Log): AssignmentCopy {
  return {
    read() {
      try {
        const copy = v.parse(Copy, JSON.parse(readFileSync(path, "utf8")));
        return copy.server === server && copy.node === node ? copy.items : undefined;
      } catch {
        return undefined;
      }
    },
    write(items) {
      try {
        writeFileAtomic(path, JSON.stringify({ version: 1, server, node, items }));
      } catch (error) {
        log.warn("assignment", `cannot write ${path}: ${messageOf(error)}`);
        try {
          rmSync(path, { force: true });
        } catch {
          // The first error is the one to report.
        }
      }
    },
  };
}
