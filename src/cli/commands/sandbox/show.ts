// `sandbox show`: shows one node, or one task with its log as operators of the real control plane see it.
import * as v from "valibot";
import { shortId } from "../../../lib/text.ts";
import { AgentError, httpStatusOf } from "../../../lib/agent-error.ts";
import { LogDocument, NodeDocument, TaskDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { note, print, printJson, printOutput, rawFlag } from "../../ui/output.ts";
import { type Operator, operator, operatorArgs } from "./client.ts";
import { flat, printFields } from "./fields.ts";
import { shownRow } from "./task.ts";

export default command({
  name: "show",
  description: "show a node or a task",
  examples: ["sandbox show web-01", "sandbox show 7c1e --all"],
  args: {
    subject: {
      type: "positional",
      required: true,
      description: "a node's name or id, or a task's id or its beginning",
    },
    all: { type: "boolean", description: "all log rows, not only the first 100 that operators see" },
    raw: rawFlag,
    ...operatorArgs,
  },
  async run({ args }) {
    const sandbox = operator(args);
    const name = encodeURIComponent(args.subject);
    const node = await unlessUnknown(sandbox.call("GET", `/nodes/${name}`, NodeDocument));
    if (node !== undefined) return args.json ? printJson(node) : printFields(flat(node));
    const task = await unlessUnknown(sandbox.call("GET", `/tasks/${name}`, TaskDocument));
    if (task === undefined) throw await unknownSubject(args.subject, sandbox);
    const path = `/tasks/${name}/logs${args.all ? "?all=1" : ""}`;
    const rows = await sandbox.call("GET", path, v.array(LogDocument));
    if (args.json) return printJson({ ...task, log: rows });
    printFields(flat({ ...task, output: undefined }));
    if (rows.length > 0) print();
    for (const row of rows) printOutput(shownRow(row), args.raw);
    if (rows.length === 0) note("no log rows yet");
  },
});

async function unlessUnknown<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (httpStatusOf(error) === 404) return undefined;
    throw error;
  }
}

async function unknownSubject(subject: string, sandbox: Operator): Promise<AgentError> {
  const nodes = await sandbox.call("GET", "/nodes", v.array(NodeDocument));
  const tasks = (await sandbox.call("GET", "/tasks", v.array(TaskDocument))).slice(-5);
  return new AgentError("sandbox.unknown", `there is no node and no task ${JSON.stringify(subject)}`, {
    hint: [
      `Nodes: ${nodes.map(({ name }) => name).join(", ") || "none yet"}`,
      `Latest tasks: ${tasks.map(({ id }) => shortId(id)).join(", ") || "none yet"}`,
    ],
  });
}
