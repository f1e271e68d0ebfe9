// Reads the bootstrap token of `enroll` from a file, standard input or the environment: argv is visible to other users.
import { readFileSync } from "node:fs";
import { AgentError, exit, messageOf } from "../lib/agent-error.ts";

/** The flags of `enroll` that bring a token. */
export interface TokenArgs {
  readonly "bootstrap-token"?: string | undefined;
  readonly "bootstrap-token-file"?: string | undefined;
}

/** Returns the file's path, the token itself, or "-" for standard input: a flag, else the environment. `undefined` without any. */
export const givenToken = (args: TokenArgs): string | undefined =>
  args["bootstrap-token-file"] ?? args["bootstrap-token"] ?? process.env["NODERAX_BOOTSTRAP_TOKEN"];

/** Reads the token; `undefined` when none is given. Throws "enroll.token" (exit 2) when it is empty or cannot be read. */
export async function readToken(args: TokenArgs): Promise<string | undefined> {
  const given = givenToken(args);
  if (given === undefined) return undefined;
  let token = given;
  if (args["bootstrap-token-file"] !== undefined) token = readTokenFile(given);
  else if (given === "-") token = await Bun.stdin.text();
  if (token.trim() === "")
    throw new AgentError("enroll.token", "the bootstrap token is empty", { exit: exit.usage });
  return token.trim();
}

function readTokenFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new AgentError("enroll.token", `--bootstrap-token-file: ${messageOf(error)}`, { exit: exit.usage });
  }
}
