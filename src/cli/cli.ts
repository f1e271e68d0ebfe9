// Runs one command line: finds the command, reads its arguments, runs it, prints its error. Returns the exit code.
import { AgentError, type ExitCode, exit, messageOf } from "../lib/agent-error.ts";
import type { Command } from "./command.ts";
import { root } from "./commands.ts";
import { note, paint, print, printError } from "./ui/output.ts";
import { type Destination, type Walked, findCommand, usageError, walk } from "./walk.ts";

/** Runs one command line and returns the exit code of the process. Throws nothing. */
export async function main(argv: readonly string[]): Promise<ExitCode> {
  try {
    return (await dispatch(root, argv)) ?? exit.done;
  } catch (error) {
    if (error instanceof AgentError) {
      // A failed output is reported where the process ends: it may fail after the command's last line.
      if (!error.code.startsWith("output.")) printError(error.message, error.hint);
      return error.exit;
    }
    printError(messageOf(error));
    if (error instanceof Error && wantsDebug(argv, process.env)) note(error.stack);
    return exit.failed;
  }
}

/** Prints an error that nothing caught, a defect of this program. Returns the exit code of the process. */
export function crash(error: unknown): ExitCode {
  if (error instanceof AgentError && error.code.startsWith("output.")) return error.exit;
  printError(`unexpected: ${messageOf(error)}`);
  if (error instanceof Error) note(error.stack);
  return exit.failed;
}

/** Finds and runs the command below `root` that `argv` names. Throws every failure. */
export async function dispatch(root: Command, argv: readonly string[]): Promise<ExitCode | void> {
  const [first = "", ...others] = argv;
  if (first === "help") return help(root, others);
  if (/^--?h(elp)?$/.test(first)) return help(root, []);
  if (first === "-v" || /^--?version$/.test(first)) return dispatch(root, ["version", ...others]);
  // Without a command the agent runs: existing service units of the Go agents give flags only.
  const implied = first === "" || first.startsWith("-");
  const destination = await findCommand(root, implied ? ["run", ...argv] : argv);
  const { command, path } = destination;
  const walked = implied ? walkImplied(root, destination) : walk(destination);
  if (walked.help) return help(root, path);
  if (command.run === undefined) {
    const names = Object.keys(command.subCommands).join(", ");
    throw usageError(`${path.join(" ")} needs a command: ${names}`, path);
  }
  return command.run(walked.input);
}

/** Reads flags without a command as those of `run`. Explains `--json status`, where a command follows its flags. */
function walkImplied(root: Command, destination: Destination): Walked {
  try {
    return walk(destination);
  } catch (error) {
    const name = destination.rest.find((word) => Object.hasOwn(root.subCommands, word));
    if (name === undefined || !(error instanceof AgentError)) throw error;
    throw usageError(`flags go after the command: noderax-agent ${name} …`, [name]);
  }
}

async function help(root: Command, path: readonly string[]): Promise<void> {
  const { renderHelp, renderSettings } = await import("./ui/help.ts");
  if (path[0] === "settings") {
    const { configFlags } = await import("./config-flags.ts");
    return print(renderSettings(configFlags, paint));
  }
  const { command, rest, path: found } = await findCommand(root, path);
  if (rest[0] !== undefined && !rest[0].startsWith("-"))
    throw usageError(`unknown command ${path.join(" ")}`, found);
  print(await renderHelp(command, found, paint));
}

/** Looks for the debug level in argv and the environment itself: reading the configuration may be what failed. */
function wantsDebug(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): boolean {
  const level = env["NODERAX_LOG_LEVEL"] ?? env["LOG_LEVEL"] ?? "";
  return level.toLowerCase() === "debug" || /(^| )--?(debug|log[-_]level[= ]debug)( |$)/.test(argv.join(" "));
}
