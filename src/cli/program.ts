// How this program was called, so that what we tell people to type next works where they are.
import { realpathSync } from "node:fs";
import { relative, resolve } from "node:path";
import { compiled } from "../platform/build.ts";

export const PROGRAM = "noderax-agent";
/** A symbolic link of this name makes it that agent; see the configuration. */
const OTHER_AGENT = "cara-agent";

/** The name this program was called by; the compiled executable knows it only from argv0 (measured). */
export const invokedAs = (argv0 = process.argv0): string => argv0.slice(argv0.lastIndexOf("/") + 1);

/** The word people type: from source, where argv0 is the runtime's, the program's own name unless it plays the other. */
export function calledAs(name = invokedAs(), isCompiled = compiled): string {
  return isCompiled || name === OTHER_AGENT ? name : PROGRAM;
}

/**
 * Every part of the agent writes its hints as `noderax-agent <command>`; here they get what the person has to type.
 * Users of `cara-agent` know flags and no `config set`.
 */
export function asCalled(text: string, name = calledAs(), program = compiled ? programName() : name): string {
  const own =
    name === OTHER_AGENT
      ? text.replace(
          /noderax-agent config set ([a-z_]+) /g,
          (_, key: string) => `${program} -${key.replaceAll("_", "-")} `,
        )
      : text;
  // A command follows: paths, units and plain talk of the agent keep its name.
  return own.replace(/(?<![\w/.-])noderax-agent(?= [a-z-])/g, () => program);
}

/** What starts the program here: "noderax-agent" where the PATH finds it, else "dist/noderax-agent"; from source the whole call. */
export function programName(): string {
  if (!compiled) return `${process.execPath} ${relative(process.cwd(), process.argv[1] ?? "")}`;
  const found = Bun.which(invokedAs());
  return pathToType(process.argv0, process.cwd(), found !== null && realpathSync(found) === process.execPath);
}

export function pathToType(argv0: string, cwd: string, isOnPath: boolean): string {
  if (isOnPath || !argv0.includes("/")) return invokedAs(argv0);
  const path = relative(cwd, resolve(cwd, argv0));
  return path.startsWith("..") ? resolve(cwd, argv0) : path.includes("/") ? path : `./${path}`;
}

/** What the person has typed to run this command, to be typed again with other flags. */
export function typed(
  command: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const byNpm = command === "dev" && env["npm_lifecycle_event"] === "start";
  return byNpm ? "npm start --" : `${programName()} ${command}`;
}
