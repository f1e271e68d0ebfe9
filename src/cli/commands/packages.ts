// `packages preview` shows what an operation on packages would do. `packages apply` is what a package task runs.
import { writeSync } from "node:fs";
import { AgentError, type ExitCode, exit } from "../../lib/agent-error.ts";
import { isRoot } from "../../platform/account.ts";
import { applyPackages } from "../../packages/apply.ts";
import { previewChanges, requireMutable } from "../../packages/inquire.ts";
import type { PlannedChange } from "../../packages/adapter.ts";
import { NAMES_MAX, problemOfName } from "../../packages/names.ts";
import type { PackageLog, PackageOperation } from "../../packages/operation.ts";
import { command } from "../command.ts";
import { interruption } from "../interruption.ts";
import { note, print, printJson, table, warn } from "../ui/output.ts";
import { usageError } from "../walk.ts";

/** Where a task reads the report of what its process did. */
const REPORT = 4;

const actionArgument = {
  action: { type: "positional", required: true, description: "install, remove or purge" },
} as const;

const preview = command({
  name: "preview",
  description: "show which packages an operation would bring, change and remove; changes nothing",
  examples: ["packages preview install nginx", "packages preview remove curl --json"],
  args: { ...actionArgument, json: { type: "boolean", description: "print one JSON document" } },
  rest: { name: "name", description: "names of packages", required: true },
  async run({ args, rest }): Promise<ExitCode> {
    const operation = operationOf(args.action, rest, "preview");
    const manager = requireMutable();
    const { changes, warnings } = await previewChanges(manager, operation.action, operation.names);
    if (args.json) {
      printJson({ manager: manager.name, changes, warnings });
      return exit.done;
    }
    if (changes.length === 0) note("nothing would change");
    const rows = changes.map((one) => [one.change, one.name, versionsOf(one)]);
    if (rows.length > 0) for (const line of table(rows, ["change", "package", "version"])) print(line);
    for (const text of warnings) warn(text);
    note(`${manager.policy}.`);
    return exit.done;
  },
});

const versionsOf = ({ from, to }: PlannedChange): string =>
  from !== undefined && to !== undefined ? `${from} → ${to}` : (to ?? from ?? "");

const apply = command({
  name: "apply",
  description: "carry out a package task, and write the report to descriptor 4",
  args: actionArgument,
  rest: { name: "name", description: "names of packages", required: true },
  hidden: true,
  async run({ args, rest }): Promise<ExitCode> {
    if (!isRoot()) throw new AgentError("packages.failed", "packages can be changed as root only");
    const operation = operationOf(args.action, rest, "apply");
    // A second signal ends nothing either: see apply.ts.
    const { signal } = interruption({ onSecond: () => {} });
    const log: PackageLog = { out: print, err: note };
    const report = await applyPackages(requireMutable(), operation, log, signal);
    writeReport(JSON.stringify(report));
    if (report.error !== undefined) note(report.error);
    return report.error === undefined ? exit.done : exit.failed;
  },
});

/** Nobody reads it when the command is typed by a person: then there is no descriptor 4. */
function writeReport(text: string): void {
  try {
    const bytes = Buffer.from(text);
    for (let done = 0; done < bytes.length;) done += writeSync(REPORT, bytes, done);
  } catch {
    note("no report was written: descriptor 4 is not open");
  }
}

function operationOf(action: string, names: readonly string[], name: string): PackageOperation {
  const path = ["packages", name];
  const chosen = (["install", "remove", "purge"] as const).find((one) => one === action);
  if (chosen === undefined) throw usageError(`"${action}" is none of install, remove and purge`, path);
  const unique = [...new Set(names)];
  if (unique.length > NAMES_MAX) throw usageError(`more than ${NAMES_MAX} names`, path);
  for (const one of unique) {
    const problem = problemOfName(one, chosen === "install");
    if (problem !== undefined) throw usageError(`the package name ${JSON.stringify(one)} ${problem}`, path);
  }
  return { action: chosen, names: unique };
}

export default command({
  name: "packages",
  description: "show what changes of packages would do on this machine",
  subCommands: { preview, apply },
});
