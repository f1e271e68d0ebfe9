// Builds the environment of a task's command.
import { type Account, accountVariables } from "../../platform/account.ts";
import { TASK_VARIABLE } from "./directory.ts";

/**
 * Returns the whole environment of a command; nothing is inherited from the agent. No pager waits for a key, no table is
 * wrapped, and the task's own variables override the others.
 */
export function environmentOf(
  own: Readonly<Record<string, string>>,
  account: Account,
  taskId: string,
): Record<string, string> {
  return {
    ...accountVariables(account),
    SHELL: "/bin/sh",
    LANG: "C.UTF-8",
    TERM: "dumb",
    PAGER: "cat",
    COLUMNS: "100000",
    ...own,
    [TASK_VARIABLE]: taskId,
  };
}
