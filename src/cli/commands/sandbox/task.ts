// `sandbox task`: queues a task for a node and prints its log as it arrives.
import * as v from "valibot";
import { shortId } from "../../../lib/text.ts";
import { AgentError, exit, type ExitCode } from "../../../lib/agent-error.ts";
import { LogDocument, TaskDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { note, print, printJson, printOutput, rawFlag } from "../../ui/output.ts";
import { asCalled } from "../../program.ts";
import { usageError } from "../../walk.ts";
import { operator, operatorArgs, timeoutOf } from "./client.ts";
import { followTask } from "./follow-task.ts";

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
    command: { type: "positional", required: false, description: "the command for its shell" },
    type: { type: "string", description: "type of the task (default shell.exec)", valueHint: "type" },
    payload: { type: "string", description: "fields of the payload, as a JSON object", valueHint: "json" },
    wait: { type: "boolean", description: "wait for the end (default; --no-wait and --json do not)" },
    timeout: {
      type: "string",
      description: "stop waiting after this long; the task continues",
      valueHint: "1m",
    },
    raw: rawFlag,
    ...operatorArgs,
  },
  async run({ args }): Promise<ExitCode> {
    const timeout = timeoutOf(args.timeout, PATH);
    const payload = payloadOf(args.command, args.payload, args.type);
    const sandbox = operator(args);
    const request = { node: args.node, type: args.type, payload };
    const task = await sandbox.call("POST", "/tasks", TaskDocument, request);
    if (!(args.wait ?? !args.json)) {
      if (args.json) printJson({ task_id: task.id, status: task.status });
      else
        print(`${task.id} queued; to see it:  ${asCalled("noderax-agent sandbox show")} ${shortId(task.id)}`);
      return exit.done;
    }
    const show = args.json ? () => {} : (row: LogDocument) => printOutput(shownRow(row), args.raw);
    const { task: finished, rows } = await followTask(sandbox, task.id, show, timeout);
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

/** Words a log row: stdout unchanged, other levels with their name. */
export const shownRow = ({ level, line }: LogDocument): string =>
  level === "stdout" ? line : `[${level}] ${line}`;

function exitCodeOf({ result }: TaskDocument): number | null {
  const code = result?.["exitCode"];
  return typeof code === "number" ? code : null;
}

const Payload = v.record(v.string(), v.unknown());

function payloadOf(
  command: string | undefined,
  json: string | undefined,
  type = "shell.exec",
): Record<string, unknown> {
  if (command === undefined && json === undefined && type === "shell.exec") {
    throw usage("nothing to do: give a command, or --type and --payload");
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

const PATH = ["sandbox", "task"];
const usage = (message: string): AgentError => usageError(message, PATH);
