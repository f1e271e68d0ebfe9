// Chooses the kind of a task and builds the environment of its command.
import { type Account, SYSTEM_PATH } from "../../platform/account.ts";
import type { KindContext, Prepared, RunCommand, TaskKind } from "../kinds/kind.ts";
import { shellExec } from "../kinds/shell.ts";
import { TASK_VARIABLE } from "./directory.ts";

const KINDS: readonly TaskKind[] = [shellExec];
export const CAPABILITIES: readonly string[] = KINDS.map(({ type }) => type);

export function prepareRun(
  type: string,
  payload: Readonly<Record<string, unknown>>,
  context: KindContext,
): Prepared {
  const kind = KINDS.find((candidate) => candidate.type === type);
  if (kind !== undefined) return kind.prepare(payload, context);
  const text = `unsupported task type "${type}": this agent runs ${CAPABILITIES.join(", ")}`;
  return { do: "reject", text };
}

/**
 * Returns the whole environment of a command; nothing is inherited from the agent. No pager waits for a key, no table is
 * wrapped, and the payload's variables override the others.
 */
export function environmentOf(run: RunCommand, account: Account, taskId: string): Record<string, string> {
  return {
    PATH: SYSTEM_PATH,
    HOME: account.home,
    USER: account.name,
    LOGNAME: account.name,
    SHELL: run.shell,
    LANG: "C.UTF-8",
    TERM: "dumb",
    PAGER: "cat",
    COLUMNS: "100000",
    ...run.environment,
    [TASK_VARIABLE]: taskId,
  };
}
