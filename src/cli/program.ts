// Finds out how this program was called, so that commands in hints work in the caller's directory.
import { realpathSync } from "node:fs";
import { relative, resolve } from "node:path";
import { compiled } from "../platform/build.ts";

export const PROGRAM = "noderax-agent";
/** Called through a symbolic link of this name, the program uses that agent's defaults. */
const OTHER_AGENT = "cara-agent";

/** Returns the name this program was called by. The compiled executable has it in argv0 only (measured). */
export const invokedAs = (argv0 = process.argv0): string => argv0.slice(argv0.lastIndexOf("/") + 1);

/** Returns the name people type. From source argv0 is the runtime's: then "noderax-agent", or "cara-agent" where it acts as that. */
export function calledAs(name = invokedAs(), isCompiled = compiled): string {
  return isCompiled || name === OTHER_AGENT ? name : PROGRAM;
}

/**
 * Replaces `noderax-agent <command>`, as all parts write it in hints, by what the person has to type here.
 * For `cara-agent`, `config set` becomes the flag: its users configure by flags.
 */
export function asCalled(text: string, name = calledAs(), program = compiled ? programName() : name): string {
  const own =
    name === OTHER_AGENT
      ? text.replace(
          /noderax-agent config set ([a-z_]+) /g,
          (_, key: string) => `${program} -${key.replaceAll("_", "-")} `,
        )
      : text;
  // Only where a command follows: the name stays in paths, unit names, calls of a service manager, and prose.
  return own.replace(/(?<![\w/.-]|rc-service )noderax-agent(?= [a-z-])/g, () => program);
}

/** Returns the command that starts this program: its name where PATH finds it, else a path; from source, runtime and script. */
export function programName(): string {
  if (!compiled) return `${process.execPath} ${relative(process.cwd(), process.argv[1] ?? "")}`;
  const found = Bun.which(invokedAs());
  return pathToType(process.argv0, process.cwd(), found !== null && realpathSync(found) === process.execPath);
}

/** Returns whether `install.sh` started this program: from a copy beside the place of the executable, which it removes. */
export const byInstaller = (argv0 = process.argv0): boolean => argv0.includes("/.noderax-agent-");

/**
 * Returns the shortest form of argv0 that works from `cwd`: the bare name, a relative path, or an absolute one above `cwd`;
 * for the copy of `install.sh` the name under which it is installed.
 */
export function pathToType(argv0: string, cwd: string, isOnPath: boolean): string {
  if (byInstaller(argv0)) return PROGRAM;
  if (isOnPath || !argv0.includes("/")) return invokedAs(argv0);
  const path = relative(cwd, resolve(cwd, argv0));
  return path.startsWith("..") ? resolve(cwd, argv0) : path.includes("/") ? path : `./${path}`;
}

/** Returns what the person typed to run `command`, for a hint that adds a flag to it. */
export function typed(
  command: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const byNpm = command === "dev" && env["npm_lifecycle_event"] === "start";
  return byNpm ? "npm start --" : `${programName()} ${command}`;
}
