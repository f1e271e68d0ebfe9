// A task of a node under test, as its operator and its machine see it.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runsPath } from "../../src/agent/agent.ts";
import type { Duration } from "../../src/lib/duration.ts";
import { isFinal } from "../../src/protocol/noderax/tasks.ts";
import type { LogDocument, TaskDocument } from "../../src/sandbox/documents.ts";
import type { Machine } from "./agent.ts";
import { namesIn, scribble } from "./scribble.ts";
import { SOON, until } from "./until.ts";

export class TaskHandle {
  constructor(
    readonly id: string,
    readonly machine: Machine,
  ) {}

  document(): TaskDocument {
    return this.machine.sandbox.task(this.id);
  }

  /** All rows, beyond those that operators see. */
  rows(): LogDocument[] {
    return this.machine.sandbox.logs(this.id, { all: true });
  }

  /** The rows of a level, one below the other. */
  text(level?: LogDocument["level"]): string {
    return this.rows()
      .filter((row) => level === undefined || row.level === level)
      .map(({ line }) => line)
      .join("\n");
  }

  /** Where the node keeps its output: a command whose launch was repeated has a directory for each. */
  get directory(): string {
    const runs = runsPath(this.machine.stateDirectory);
    const attempt = (name: string): number => Number(name.split(".")[1] ?? 1);
    const names = namesIn(runs).filter((name) => name.split(".")[0] === this.id);
    return join(runs, names.sort((a, b) => attempt(a) - attempt(b)).at(-1) ?? this.id);
  }

  kept(stream: "stdout" | "stderr"): Buffer {
    return readFileSync(join(this.directory, `${stream}.log`));
  }

  /** The wrapper has written the exit status of the command. */
  hasExited(): boolean {
    return /^\d+ .*ok\n/.test(scribble(join(this.directory, "exit")).text() ?? "");
  }

  cancels(reason?: string): void {
    this.machine.sandbox.cancel(this.id, reason);
  }

  async becomes(
    what: string,
    holds: (task: TaskDocument) => boolean,
    within?: Duration,
  ): Promise<TaskDocument> {
    await until(
      what,
      () => holds(this.document()),
      within,
      () => this.story(),
    );
    return this.document();
  }

  isRunning(within?: Duration): Promise<TaskDocument> {
    return this.becomes("running", ({ status }) => status === "running", within);
  }

  async finishes(status: "success" | "failed" | "cancelled", within: Duration = SOON): Promise<TaskDocument> {
    const task = await this.becomes(`final (${status})`, (document) => isFinal(document.status), within);
    if (task.status !== status) throw new Error(`finished as ${task.status}, not ${status}\n${this.story()}`);
    return task;
  }

  /**
   * Waits until a row has the text and the call that brought it is over: until then the server may write back an old task.
   * A finished task has no such call; its output is the completion's.
   */
  shows(text: string, within?: Duration): Promise<void> {
    return until(
      `a row with ${text}`,
      () => {
        const { status, output } = this.document();
        return this.text().includes(text) && (isFinal(status) || output === this.rows().at(-1)?.line);
      },
      within,
      () => this.story(),
    );
  }

  story(): string {
    const rows = this.rows().map(({ level, line }) => `  ${level} ${JSON.stringify(line.slice(0, 200))}`);
    return [JSON.stringify(this.document(), null, 1), ...rows.slice(-20)].join("\n") + this.machine.story();
  }
}

/** Settings of an agent that is never updated. */
export const noUpdates = {
  state_file: "/var/empty/agent_identity.json",
  update_allow: "off",
  update_channel_url: undefined,
} as const;
