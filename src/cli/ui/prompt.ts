// Asks a person for input; without a terminal, names the flag that gives the answer.
import { AgentError, exit } from "../../lib/agent-error.ts";
import { note } from "./output.ts";

/** Reads one line. Throws "aborted" (exit 130) on Ctrl-C, Ctrl-D and `signal`, "cli.usage" without a terminal. */
async function ask(question: string, flag: string, signal: AbortSignal): Promise<string> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new AgentError("cli.usage", `${flag} is missing, and there is no terminal to ask on`, {
      hint: "See:  noderax-agent help enroll",
      exit: exit.usage,
    });
  }
  const { createInterface } = await import("node:readline/promises");
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  const closed = new Promise<undefined>((resolve) => reader.once("close", () => resolve(undefined)));
  const close = (): void => reader.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    if (signal.aborted) close();
    reader.once("SIGINT", close);
    const answer = await Promise.race([reader.question(`${question} `), closed]);
    if (answer === undefined) throw new AgentError("aborted", "interrupted", { exit: exit.interrupted });
    return answer;
  } finally {
    signal.removeEventListener("abort", close);
    reader.close();
  }
}

/** A parsed answer, or what is wrong with it. */
export type ParsedAnswer<T> =
  | { readonly value: T; readonly problem?: never }
  | { readonly problem: string; readonly value?: never };

/** After so many wrong answers the command fails: its help says more than another question. */
const ANSWERS_MAX = 10;

/** Asks until `parse` accepts the answer. Throws as `ask` does, and "cli.usage" after too many wrong answers. */
export async function askUntil<T>(
  question: string,
  flag: string,
  parse: (answer: string) => ParsedAnswer<T>,
  signal: AbortSignal,
): Promise<T> {
  for (let left = ANSWERS_MAX; ; left--) {
    const { value, problem } = parse((await ask(question, flag, signal)).trim());
    if (problem === undefined) return value;
    if (left <= 1) throw new AgentError("cli.usage", problem, { exit: exit.usage });
    note(`  ${problem}`);
  }
}
