// `sandbox scan`: shows the end of one of a node's logs, as an operator's log preview does.
import * as v from "valibot";
import { AgentError, type ExitCode, exit } from "../../../lib/agent-error.ts";
import { TaskDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { note, printJson, printOutput, rawFlag, warn } from "../../ui/output.ts";
import { usageError } from "../../walk.ts";
import { operator, operatorArgs, timeoutOf } from "./client.ts";
import { followTask } from "./follow-task.ts";

/** What the API reads of the result; it takes nothing else for a success. */
const Result = v.object({
  sourceType: v.optional(v.string()),
  entries: v.array(
    v.object({
      timestamp: v.optional(v.string()),
      message: v.string(),
      unit: v.optional(v.string()),
      identifier: v.optional(v.string()),
    }),
  ),
  truncated: v.optional(v.boolean(), false),
  warnings: v.optional(v.array(v.string()), []),
});
type Entry = v.InferOutput<typeof Result>["entries"][number];

export default command({
  name: "scan",
  description: "show the end of one of a node's logs",
  examples: ["sandbox scan demo-1 syslog", "sandbox scan demo-1 auth.log --lines 20 --json"],
  args: {
    node: { type: "positional", required: true, description: "the node's name or id" },
    preset: {
      type: "positional",
      required: true,
      description: "syslog, auth.log, kern.log or noderax-agent",
    },
    lines: { type: "string", description: "how many lines (default 200, at most 500)", valueHint: "count" },
    "no-root": { type: "boolean", description: "read as the user of tasks, not as root" },
    timeout: { type: "string", description: "stop waiting after this long", valueHint: "1m" },
    raw: rawFlag,
    ...operatorArgs,
  },
  async run({ args }): Promise<ExitCode> {
    const timeout = timeoutOf(args.timeout, PATH);
    const sandbox = operator(args);
    const payload = {
      mode: "preview",
      sourcePresetId: args.preset,
      limits: { maxLines: 500, maxBytes: 65_536, backfillLines: linesOf(args.lines) },
      ...(args["no-root"] === true ? {} : { runAsRoot: true, rootScope: "operational" }),
    };
    const queued = await sandbox.call("POST", "/tasks", TaskDocument, {
      node: args.node,
      type: "log.scan",
      payload,
    });
    const { task } = await followTask(sandbox, queued.id, () => {}, timeout);
    const parsed = v.safeParse(Result, task.result);
    const isDone = task.status === "success" && parsed.success;
    const error = isDone ? null : reasonOf(task);
    if (args.json)
      printJson({
        task_id: task.id,
        status: task.status,
        result: parsed.success ? parsed.output : null,
        error,
      });
    else if (isDone) show(parsed.output, args.raw === true);
    if (isDone) return exit.done;
    if (args.json !== true) throw new AgentError("sandbox.refused", `${args.preset}: ${error}`);
    return exit.failed;
  },
});

function show({ entries, truncated, warnings }: v.InferOutput<typeof Result>, raw: boolean): void {
  for (const entry of entries) printOutput(lineOf(entry), raw);
  for (const text of warnings) warn(text);
  if (truncated) note("Some lines are left out: the log is longer than the limits.");
  if (entries.length === 0) note("The log is empty.");
}

const lineOf = ({ timestamp, identifier, message }: Entry): string =>
  [timestamp, identifier === undefined ? undefined : `${identifier}:`, message].filter(Boolean).join(" ");

const reasonOf = ({ status, output, result }: TaskDocument): string => {
  const error = result?.["error"];
  return typeof error === "string" ? error : (output ?? status);
};

function linesOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= 500) return count;
  throw usageError(`--lines must be a number from 1 to 500, not ${text}`, PATH);
}

const PATH = ["sandbox", "scan"];
