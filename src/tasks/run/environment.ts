// Builds the environment of a task's command.
import { type Account, SYSTEM_PATH } from "../../platform/account.ts";
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
    PATH: SYSTEM_PATH,
    HOME: account.home,
    USER: account.name,
    LOGNAME: account.name,
    SHELL: "/bin/sh",
    LANG: "C.UTF-8",
    TERM: "dumb",
    PAGER: "cat",
    COLUMNS: "100000",
    ...own,
    [TASK_VARIABLE]: taskId,
  };
}
