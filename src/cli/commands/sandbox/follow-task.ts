// Waits for the end of a task that was queued in the sandbox.
import * as v from "valibot";
import { shortId } from "../../../lib/text.ts";
import { AgentError } from "../../../lib/agent-error.ts";
import { type Duration, milliseconds } from "../../../lib/duration.ts";
import { sleep } from "../../../lib/loop.ts";
import { isFinal } from "../../../protocol/noderax/tasks.ts";
import { LogDocument, TaskDocument } from "../../../sandbox/documents.ts";
import type { Operator } from "./client.ts";

const POLL_INTERVAL = milliseconds(150);

export interface FollowedTask {
  readonly task: TaskDocument;
  readonly rows: readonly LogDocument[];
}

/** Polls until the task is over and shows each row once. Throws "sandbox.timeout" after `timeout` (ms). */
export async function followTask(
  sandbox: Operator,
  id: string,
  show: (row: LogDocument) => void,
  timeout: Duration,
): Promise<FollowedTask> {
  const deadline = performance.now() + timeout;
  let shown = 0;
  for (;;) {
    // The task before its rows: all rows stored before its end are then among those read.
    const task = await sandbox.call("GET", `/tasks/${id}`, TaskDocument);
    const rows = await sandbox.call("GET", `/tasks/${id}/logs?all=1`, v.array(LogDocument));
    for (const row of rows.slice(shown)) show(row);
    shown = rows.length;
    if (isFinal(task.status)) return { task, rows };
    if (performance.now() > deadline) {
      throw new AgentError("sandbox.timeout", `task ${id} is still ${task.status}`, {
        hint: `To see it later:  noderax-agent sandbox show ${shortId(id)}`,
      });
    }
    await sleep(POLL_INTERVAL);
  }
}
