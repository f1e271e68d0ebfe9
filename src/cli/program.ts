// How this program was called, so that what we tell people to type next works where they are.
import { relative } from "node:path";
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
 * Every part of the agent writes its hints as `noderax-agent <command>`; here they get the name this program was called
 * by. Users of `cara-agent` know flags and no `config set`.
 */
export function asCalled(text: string, name = calledAs()): string {
  if (name === PROGRAM) return text;
  const own =
    name === OTHER_AGENT
      ? text.replace(
          /noderax-agent config set ([a-z_]+) /g,
          (_, key: string) => `${name} -${key.replaceAll("_", "-")} `,
        )
      : text;
  // A command follows: paths, units and plain talk of the agent keep its name.
  return own.replace(/(?<![\w/.-])noderax-agent(?= [a-z-])/g, name);
}

/** "noderax-agent" when found on the PATH, "dist/noderax-agent" when called by its path, from source the whole call. */
export function programName(): string {
  if (!compiled) return `${process.execPath} ${relative(process.cwd(), process.argv[1] ?? "")}`;
  if (!process.argv0.includes("/")) return process.argv0;
  const path = relative(process.cwd(), process.execPath);
  return path.startsWith("..") ? process.execPath : path.includes("/") ? path : `./${path}`;
}

/** What the person has typed to run this command, to be typed again with other flags. */
export function typed(
  command: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const byNpm = command === "dev" && env["npm_lifecycle_event"] === "start";
  return byNpm ? "npm start --" : `${programName()} ${command}`;
}
