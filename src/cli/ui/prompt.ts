// Asks a person; where there is none, says which flag answers the question.
import { AgentError, exit } from "../../lib/agent-error.ts";
import { note } from "./output.ts";

/** One line of text. Ctrl-C, Ctrl-D and `signal` end the program as interrupted; without a terminal it is a usage error. */
async function ask(question: string, flag: string, signal: AbortSignal): Promise<string> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new AgentError("cli.usage", `${flag} is missing, and there is no terminal to ask on`, {
      hint: "see: noderax-agent enroll --help",
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

/** What an answer means, or what is wrong with it. */
export type Understood<T> =
  | { readonly value: T; readonly problem?: never }
  | { readonly problem: string; readonly value?: never };

/** Somebody who is wrong so often needs the help text. */
const ANSWERS_MAX = 10;

/** Asks again until the answer makes sense. Throws as `ask` does. */
export async function askUntil<T>(
  question: string,
  flag: string,
  understand: (answer: string) => Understood<T>,
  signal: AbortSignal,
): Promise<T> {
  for (let left = ANSWERS_MAX; ; left--) {
    const { value, problem } = understand((await ask(question, flag, signal)).trim());
    if (problem === undefined) return value;
    if (left <= 1) throw new AgentError("cli.usage", problem, { exit: exit.usage });
    note(`  ${problem}`);
  }
}
