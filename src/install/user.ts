// Creates, moves and removes the user that tasks run as, with the tools this machine has.
import { AgentError } from "../lib/agent-error.ts";
import { SYSTEM_PATH, findAccount } from "../platform/account.ts";
import { runProgram } from "./service.ts";

type Tool = "useradd" | "adduser";

/** Returns the commands that create a system user with its own group: shadow's `useradd` or busybox's `adduser`. Pure. */
export function userCommands(tool: Tool, name: string, home: string, shell: string): readonly string[][] {
  return tool === "useradd"
    ? [
        [
          "useradd",
          "--system",
          "--user-group",
          "--no-create-home",
          `--home-dir=${home}`,
          `--shell=${shell}`,
          name,
        ],
      ]
    : [
        ["addgroup", "-S", name],
        ["adduser", "-S", "-D", "-H", "-h", home, "-s", shell, "-G", name, name],
      ];
}

const has = (name: string): boolean => Bun.which(name, { PATH: SYSTEM_PATH }) !== null;

/** Creates the user without its home. Throws "install.user" with the message of the tool. */
export function makeUser(name: string, home: string): void {
  const tool: Tool | undefined = has("useradd") ? "useradd" : has("adduser") ? "adduser" : undefined;
  if (tool === undefined)
    throw new AgentError("install.user", "this machine has neither useradd nor adduser", {
      hint: `Make the user ${name} by hand, then install again.`,
    });
  const shell = Bun.which("nologin", { PATH: SYSTEM_PATH }) ?? "/bin/false";
  for (const command of userCommands(tool, name, home, shell)) {
    const { code, stderr } = runProgram(command);
    if (code !== 0) throw new AgentError("install.user", `${command.join(" ")} failed: ${stderr.trim()}`);
  }
  if (findAccount(name) === undefined)
    throw new AgentError("install.user", `${tool} made no user ${name} that could be found`);
}

/** Removes a user without its home. Returns undefined, or why it could not. */
export function removeUser(name: string): string | undefined {
  const { code, stderr } = runProgram(has("userdel") ? ["userdel", name] : ["deluser", name]);
  return code === 0 ? undefined : stderr.trim() || `exit code ${code}`;
}

/** Sets the home of a user in the account database; moves no files. Returns undefined, or why it could not. */
export function moveHome(name: string, home: string): string | undefined {
  if (!has("usermod")) return "there is no usermod";
  const { code, stderr } = runProgram(["usermod", `--home=${home}`, name]);
  return code === 0 ? undefined : stderr.trim() || `exit code ${code}`;
}
