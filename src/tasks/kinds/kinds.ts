// The kinds of tasks that this agent runs. A new kind is a file beside this one, and a name in the list.
import type { TaskKind } from "./kind.ts";
import { shellExec } from "./shell.ts";

export const TASK_KINDS: readonly TaskKind[] = [shellExec];
