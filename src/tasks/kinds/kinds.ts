// The kinds of tasks that this agent runs. A new kind is a file beside this one, and a name in the list.
import { agentUpdate } from "./agent-update.ts";
import type { TaskKind } from "./kind.ts";
import { logScanKind } from "./log-scan.ts";
import { packageInstall, packagePurge, packageRemove } from "./package-changes.ts";
import { packageList, packageSearch } from "./package-queries.ts";
import { shellExec } from "./shell.ts";

export const TASK_KINDS: readonly TaskKind[] = [
  shellExec,
  packageList,
  packageSearch,
  packageInstall,
  packageRemove,
  packagePurge,
  logScanKind,
  agentUpdate,
];
