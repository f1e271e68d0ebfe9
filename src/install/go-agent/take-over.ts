// Removes what a Go agent left in force: its sudo rules and root helpers, by which every task could become root despite the
// root profile, and its account's ownership of files. Only warns about files that it does not recognise as that agent's.
import { existsSync, lstatSync, rmSync } from "node:fs";
import { join } from "node:path";
import { namesIn, textIn } from "../../platform/lenient-reads.ts";
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { type Account, isRoot } from "../../platform/account.ts";
import { secure } from "../../platform/trust/root-trust.ts";
import { asGoodAsRoot, groupsOf } from "./groups.ts";
import { isOnlyFor, readSudoers, rulesFor } from "./sudoers.ts";

/** The account that its installer makes. */
const ACCOUNT = "noderax";
const SUDOERS = ["etc/sudoers.d/noderax-agent", "etc/sudoers.d/noderax-agent-root-access"];
const LIBEXEC = "usr/local/libexec";
const HELPERS = ["self-update", "root-profile", "package-mutation", "operational-log-scan", "task-root"].map(
  (name) => `noderax-agent-${name}`,
);
/** In its state directory: requests to the helpers, and the profile they applied, which this agent keeps in its database. */
const STATE = [
  "update-request.json",
  "package-mutation-request.txt",
  "operational-log-scan-request.json",
  "task-root-request.txt",
  "root_access_state.json",
];
const INSTALLED = ["/opt/noderax-agent/noderax-agent", "/etc/noderax-agent/config.json"];

/** Lists every file that `takeOverGoAgent` may remove or change, so that the caller can restore them. */
export const goAgentFiles = (stateDirectory: string): string[] => [
  ...SUDOERS.map((path) => join("/", path)),
  ...HELPERS.map((name) => join("/", LIBEXEC, name)),
  ...STATE.map((name) => join(stateDirectory, name)),
];

export interface TakenOver {
  /** What was changed on this machine. */
  readonly done: readonly string[];
  /** What a person should look at. */
  readonly warnings: readonly string[];
}

export interface TakeOverOptions {
  /** The account that tasks run as. */
  readonly task: Account;
  readonly stateDirectory: string;
  /** Used instead of / by tests: ownership is left alone then. */
  readonly root?: string;
}

/** Takes over from a Go agent; does nothing unless root. A file that cannot be removed becomes a warning. */
export function takeOverGoAgent(options: TakeOverOptions): TakenOver {
  if (!isRoot()) return { done: [], warnings: [] };
  const { task, stateDirectory, root = "/" } = options;
  const done: string[] = [];
  const warnings: string[] = [];

  function remove(path: string, what: string): void {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined || found.isDirectory()) return;
    try {
      rmSync(path);
      done.push(`removed ${path}: ${what}`);
    } catch (error) {
      warnings.push(`${path} of the Go agent cannot be removed: ${messageOf(error)}`);
    }
  }

  /** Gives a file to root. A failure only warns: the files that this agent executes or obeys were checked before. */
  function own(path: string): void {
    try {
      done.push(...secure(path, "installed"));
    } catch (error) {
      warnings.push([messageOf(error), ...(error instanceof AgentError ? error.hint : [])].join(" "));
    }
  }

  const accounts = [ACCOUNT, task.name].flatMap((name) => [name, `%${name}`]).concat(`#${task.uid}`);
  for (const path of SUDOERS.map((name) => join(root, name))) {
    const sudoers = readSudoers(textIn(path));
    if (isOnlyFor(sudoers, accounts))
      remove(path, `sudo rules of the Go agent (${sudoers.rules.map(({ text }) => text).join("; ")})`);
  }
  for (const name of HELPERS) remove(join(root, LIBEXEC, name), "helper of the Go agent, which ran as root");
  for (const name of STATE) remove(join(stateDirectory, name), "of the Go agent, used no more");
  if (root === "/") for (const path of INSTALLED.filter((path) => existsSync(path))) own(path);

  const groups = groupsOf(task, textIn(join(root, "etc/group")));
  const subjects = [task.name, `#${task.uid}`, "ALL", ...groups.map((name) => `%${name}`)];
  for (const path of sudoersFiles(root)) {
    for (const { text } of rulesFor(readSudoers(textIn(path)), subjects))
      warnings.push(`tasks run as ${task.name} and may use sudo without a password: ${path}: ${text}`);
  }
  for (const name of asGoodAsRoot(groups))
    warnings.push(`tasks run as ${task.name}, which can become root as a member of the group ${name}`);
  for (const name of namesIn(join(root, LIBEXEC)).toSorted()) {
    if (name.startsWith("noderax-agent-") && !HELPERS.includes(name))
      warnings.push(
        `${join(root, LIBEXEC, name)} is not known to this agent: remove it if a Go agent left it`,
      );
  }
  return { done, warnings };
}

/** Lists the files that sudo reads: it skips names with a dot or a trailing tilde. */
const sudoersFiles = (root: string): string[] => [
  join(root, "etc/sudoers"),
  ...namesIn(join(root, "etc/sudoers.d"))
    .toSorted()
    .filter((name) => !/\.|~$/.test(name))
    .map((name) => join(root, "etc/sudoers.d", name)),
];
