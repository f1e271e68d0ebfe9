// `task list` and `task logs`: show what ran on this node, from its journal and spool, without the control plane.
import { existsSync } from "node:fs";
import { Database } from "bun:sqlite";
import { shortId } from "../../lib/text.ts";
import { epochOf, isoOf, steadyNow, wallFrom } from "../../lib/clock.ts";
import { databasePath, runsPath, stateDirectory } from "../../agent/agent.ts";
import { AgentError, exit, messageOf } from "../../lib/agent-error.ts";
import { sleep } from "../../lib/loop.ts";
import { printable } from "../../lib/printable.ts";
import { milliseconds } from "../../lib/duration.ts";
import type { Settings } from "../../config/options.ts";
import { type Journal, type TaskRecord, createJournal } from "../../tasks/journal.ts";
import { STREAMS, type Stream } from "../../tasks/output/rows.ts";
import { runDirectory } from "../../tasks/run/directory.ts";
import { openSpool } from "../../tasks/run/spool.ts";
import { command } from "../command.ts";
import { configFlags, configFrom } from "../config-flags.ts";
import { type OutputCopy, age, copyOut, note, print, printJson, rawFlag, table } from "../ui/output.ts";
import { settingsOfAgent } from "../running-agent.ts";
import { explain } from "./task/explain.ts";

const list = command({
  name: "list",
  description: "list the latest tasks of this node",
  examples: ["task list", "task list --limit 100 --json"],
  args: {
    ...configFlags,
    limit: { type: "string", description: "how many at most", default: "20", valueHint: "N" },
    json: { type: "boolean", description: "print one JSON document" },
  },
  async run({ args }) {
    const limit = numberOf("--limit", args.limit);
    const settings = settingsOfAgent(await configFrom(args));
    const tasks = openJournal(settings)?.recent(limit) ?? [];
    if (args.json) return printJson(tasks.map(document));
    if (tasks.length === 0) return note("no task has run here yet");
    const rows = tasks.map((task) => [
      shortId(task.id),
      statusOf(task),
      task.outcome?.exitCode == null ? "-" : String(task.outcome.exitCode),
      `${age(epochOf(task.claimedAt))} ago`,
      summary(task),
    ]);
    for (const line of table(rows, ["task", "status", "exit", "claimed", "what"])) print(line);
  },
});

const logs = command({
  name: "logs",
  description: "print the whole output of a task, from this node's own copy",
  examples: ["task logs 7c1e", "task logs 7c1e --stream stderr", "task logs 7c1e -f"],
  args: {
    ...configFlags,
    id: { type: "positional", description: "the task's id, or its beginning", required: true },
    stream: { type: "string", description: "only stdout, or only stderr", valueHint: "stdout|stderr" },
    follow: { type: "boolean", alias: "f", description: "continue until the task ends" },
    raw: rawFlag,
  },
  async run({ args }) {
    const settings = settingsOfAgent(await configFrom(args));
    const journal = openJournal(settings);
    const task = findTask(journal, args.id);
    if (task.launch === undefined) {
      return note(`task ${shortId(task.id)} wrote nothing: ${task.outcome?.text ?? "it has not run yet"}`);
    }
    const directory = runDirectory(runsPath(stateDirectory(settings)), task.id, task.launch.attempt);
    if (!existsSync(directory)) {
      if (task.launch.mode === "agent") return note(`task ${shortId(task.id)} wrote nothing`);
      throw new AgentError(
        "tasks.no_output",
        `the output of task ${shortId(task.id)} is not retained any more`,
        {
          hint: "See task_log_retention and task_log_max_size.",
        },
      );
    }
    const ended = (): boolean => !args.follow || isOver(journal?.find(task.id));
    await copy(directory, streamsOf(args.stream), ended, copyOut(args.raw));
  },
});

export default command({
  name: "task",
  description: "show tasks that ran on this node, their output, and what one would do",
  subCommands: { list, logs, explain },
});

function numberOf(flag: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new AgentError("cli.usage", `${flag}: "${text}" is not a number`, { exit: exit.usage });
}

/** Opens the journal read-only; `undefined` when no agent has run with this state directory. Throws "state.database". */
function openJournal(settings: Settings): Journal | undefined {
  const path = databasePath(stateDirectory(settings));
  if (!existsSync(path)) return undefined;
  try {
    const database = new Database(path, { readonly: true, strict: true });
    database.run("PRAGMA schema_version"); // Opening reads nothing: only a query shows whether it can be read.
    return createJournal(database);
  } catch (error) {
    throw new AgentError("state.database", `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

function findTask(journal: Journal | undefined, prefix: string): TaskRecord {
  const [task, another] = journal?.startingWith(prefix) ?? [];
  if (task === undefined) {
    throw new AgentError("tasks.unknown", `no task of this node begins with "${prefix}"`, {
      hint: "See:  noderax-agent task list",
    });
  }
  if (another !== undefined)
    throw new AgentError("tasks.ambiguous", `more than one task begins with "${prefix}"`);
  return task;
}

function streamsOf(name: string | undefined): readonly Stream[] {
  if (name === undefined) return STREAMS;
  const stream = STREAMS.find((candidate) => candidate === name);
  if (stream === undefined)
    throw new AgentError("cli.usage", `--stream: "${name}" is neither stdout nor stderr`, {
      exit: exit.usage,
    });
  return [stream];
}

/** Copies output until `ended`; both streams in the order in which the agent saw them. Reads the spool without changing it. */
async function copy(
  directory: string,
  streams: readonly Stream[],
  ended: () => boolean,
  output: OutputCopy,
): Promise<void> {
  const spool = openSpool(directory, "read-only");
  try {
    for (let done = 0, last = false; !last;) {
      last = ended();
      spool.observe(last, steadyNow());
      const source =
        streams.length === 1 && streams[0] !== undefined ? spool.readerOf(streams[0]) : spool.reader();
      while (done < source.length) {
        const chunk = source.read(done, Math.min(source.length, done + 65_536));
        done += chunk.length;
        await output.write(chunk);
      }
      if (!last) await sleep(milliseconds(100));
    }
    output.end();
  } finally {
    spool.close();
  }
}

const isOver = (task: TaskRecord | undefined): boolean => task === undefined || task.outcome !== undefined;

const statusOf = (task: TaskRecord): string =>
  task.outcome?.status ?? (task.phase === "launched" ? "running" : task.phase);

function summary({ type, command, outcome }: TaskRecord): string {
  const text = command ?? type;
  const why = outcome?.text == null ? "" : `  (${outcome.text})`;
  return printable(text.length > 60 ? `${text.slice(0, 59)}…${why}` : text + why);
}

const document = (task: TaskRecord): object => ({
  id: task.id,
  type: task.type,
  phase: task.phase,
  status: statusOf(task),
  exit_code: task.outcome?.exitCode ?? null,
  error: task.outcome?.text ?? null,
  claimed_at: isoOf(task.claimedAt),
  launched_at: task.launch === undefined ? null : isoOf(wallFrom(task.launch.wall)),
  finished_at: task.finishedAt === undefined ? null : isoOf(task.finishedAt),
});
