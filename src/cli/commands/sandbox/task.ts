// `sandbox task`: gives a node something to do and, for a person, shows the log as it comes.
import * as v from "valibot";
import { shortId } from "../../../lib/text.ts";
import { AgentError, exit, type ExitCode } from "../../../lib/agent-error.ts";
import { type Duration, milliseconds, parseDuration } from "../../../lib/duration.ts";
import { sleep } from "../../../lib/loop.ts";
import { isFinal } from "../../../protocol/noderax/tasks.ts";
import { LogDocument, TaskDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { note, print, printJson, printOutput, rawFlag } from "../../ui/output.ts";
import { asCalled } from "../../program.ts";
import { type Operator, operator, operatorArgs } from "./client.ts";

/** How often a followed task is looked at. */
const LOOK = milliseconds(150);

export default command({
  name: "task",
  description: "give a node a task and follow it",
  examples: [
    "sandbox task demo-1 'uname -a'",
    "sandbox task demo-1 'sleep 60' --no-wait",
    'sandbox task demo-1 --type packageSearch --payload \'{"term":"curl"}\'',
    "sandbox task demo-1 'id' --wait --json",
  ],
  args: {
    node: { type: "positional", required: true, description: "the node's name or id" },
    command: { type: "positional", required: false, description: "what its shell runs" },
    type: { type: "string", description: "another kind of task (default shell.exec)", valueHint: "type" },
    payload: { type: "string", description: "further fields of the payload", valueHint: "json" },
    wait: { type: "boolean", description: "wait for the end (the default, but not with --json)" },
    timeout: {
      type: "string",
      description: "stop waiting after this long; the task goes on",
      valueHint: "1m",
    },
    raw: rawFlag,
    ...operatorArgs,
  },
  async run({ args }): Promise<ExitCode> {
    const patience = patienceOf(args.timeout);
    const payload = payloadOf(args.command, args.payload, args.type);
    const sandbox = operator(args);
    const request = { node: args.node, type: args.type, payload };
    const task = await sandbox.call("POST", "/tasks", TaskDocument, request);
    if (!(args.wait ?? !args.json)) {
      if (args.json) printJson({ task_id: task.id, status: task.status });
      else
        print(
          `${task.id} queued; look at it with:  ${asCalled("noderax-agent sandbox show")} ${shortId(task.id)}`,
        );
      return exit.done;
    }
    const show = args.json ? () => {} : (row: LogDocument) => printOutput(shownRow(row), args.raw);
    const { task: finished, rows } = await follow(sandbox, task.id, show, patience);
    const exitCode = exitCodeOf(finished);
    if (args.json) {
      printJson({
        task_id: finished.id,
        status: finished.status,
        exit_code: exitCode,
        output: finished.output,
        log: rows.map(({ line }) => line).join("\n"),
      });
    } else {
      if (rows.length === 0 && finished.output) printOutput(finished.output, args.raw);
      print(exitCode === null ? finished.status : `exit code ${exitCode}  ${finished.status}`);
    }
    return finished.status === "success" ? exit.done : exit.failed;
  },
});

/** Standard output as it is; everything else says what it is. */
export const shownRow = ({ level, line }: LogDocument): string =>
  level === "stdout" ? line : `[${level}] ${line}`;

interface Followed {
  readonly task: TaskDocument;
  readonly rows: readonly LogDocument[];
}

/** Looks until the task is over, handing over each row once; gives up after `patience`. */
async function follow(
  sandbox: Operator,
  id: string,
  show: (row: LogDocument) => void,
  patience: Duration,
): Promise<Followed> {
  const deadline = performance.now() + patience;
  let shown = 0;
  for (;;) {
    // The task first: rows that were stored before its end are then certainly among those read after it.
    const task = await sandbox.call("GET", `/tasks/${id}`, TaskDocument);
    const rows = await sandbox.call("GET", `/tasks/${id}/logs?all=1`, v.array(LogDocument));
    for (const row of rows.slice(shown)) show(row);
    shown = rows.length;
    if (isFinal(task.status)) return { task, rows };
    if (performance.now() > deadline) {
      throw new AgentError("sandbox.patience", `task ${id} is still ${task.status}`, {
        hint: `look at it later:  noderax-agent sandbox show ${shortId(id)}`,
      });
    }
    await sleep(LOOK);
  }
}

function exitCodeOf({ result }: TaskDocument): number | null {
  const code = result?.["exitCode"];
  return typeof code === "number" ? code : null;
}

function patienceOf(text: string | undefined): Duration {
  if (text === undefined) return Infinity;
  const patience = parseDuration(text);
  if (patience !== undefined) return patience;
  throw usage(`--timeout: "${text}" is not a duration (give a unit: 30s, 1m)`);
}

const Payload = v.record(v.string(), v.unknown());

function payloadOf(
  command: string | undefined,
  json: string | undefined,
  type = "shell.exec",
): Record<string, unknown> {
  if (command === undefined && json === undefined && type === "shell.exec") {
    throw usage("what is the node to do? Give a command, or --type and --payload");
  }
  const payload = json === undefined ? {} : parsePayload(json);
  return command === undefined ? payload : { command, ...payload };
}

function parsePayload(json: string): Record<string, unknown> {
  try {
    return v.parse(Payload, JSON.parse(json));
  } catch {
    note(`--payload was: ${json}`);
    throw usage("--payload is not a JSON object");
  }
}

const usage = (message: string): AgentError =>
  new AgentError("cli.usage", message, { exit: exit.usage, hint: "see: noderax-agent help sandbox task" });
