// `sandbox packages`: asks a node for its packages or changes them, as the package screen of the web application does.
import { type ExitCode, exit } from "../../../lib/agent-error.ts";
import { minutes } from "../../../lib/duration.ts";
import { type LogDocument, TaskDocument } from "../../../sandbox/documents.ts";
import { type PackageAnswer, packageAnswerOf, packageTaskOf } from "../../../sandbox/noderax/packages.ts";
import { command } from "../../command.ts";
import { note, print, printError, printJson, printOutput, table } from "../../ui/output.ts";
import { usageError } from "../../walk.ts";
import { operator, operatorArgs } from "./client.ts";
import { followTask } from "./follow-task.ts";

/** The control plane itself ends a task after 30 minutes. */
const WAIT = minutes(31);

export default command({
  name: "packages",
  description: "list, search, install, remove or purge packages of a node",
  examples: [
    "sandbox packages web list",
    "sandbox packages web search nginx --json",
    "sandbox packages web install nginx curl",
    "sandbox packages web purge nginx",
  ],
  args: {
    node: { type: "positional", required: true, description: "the node's name or id" },
    action: { type: "positional", required: true, description: "list, search, install, remove or purge" },
    ...operatorArgs,
  },
  rest: { name: "word", description: "words of a search, or names of packages" },
  async run({ args, rest }): Promise<ExitCode> {
    const request = packageTaskOf(args.action, rest);
    if (typeof request === "string") throw usageError(request, ["sandbox", "packages"]);
    const sandbox = operator(args);
    const queued = await sandbox.call("POST", "/tasks", TaskDocument, { node: args.node, ...request });
    // What the package manager says meanwhile: an operation may take minutes.
    const say = (row: LogDocument): void =>
      isChange(request.type) && !args.json ? printOutput(row.line, false) : undefined;
    const { task, rows } = await followTask(sandbox, queued.id, say, WAIT);
    const answer = packageAnswerOf(task);
    if (args.json) printJson({ task_id: task.id, status: task.status, ...answer });
    else show(answer, task, rows.length > 0);
    return answer.error === null && task.status === "success" ? exit.done : exit.failed;
  },
});

const isChange = (type: string): boolean => type !== "packageList" && type !== "packageSearch";

/** `isTold`: the lines of its log, which end with what has changed, were printed. */
function show(answer: PackageAnswer, task: TaskDocument, isTold: boolean): void {
  if (answer.error !== null) return printError(answer.error);
  if ("result" in answer) {
    if (!isTold) print(task.output?.trimEnd() || task.status);
    return;
  }
  const found = "packages" in answer ? answer.packages : answer.results;
  if (found.length === 0) return note("no packages");
  const rows = found.map((one) => [one.name, one.version ?? "", one.status ?? "", one.description ?? ""]);
  for (const line of table(rows, ["package", "version", "status", "description"])) print(line);
}
