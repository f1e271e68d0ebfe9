// The user that tasks run as: made, moved out of the state directory, and removed with the tools this machine has.
import { AgentError } from "../lib/agent-error.ts";
import { SYSTEM_PATH, findAccount } from "../platform/account.ts";
import { call } from "./service.ts";

type Tool = "useradd" | "adduser";

/** The commands that make a system user with a group of its own, for shadow's tools or busybox's. Pure. */
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

/** Makes the user without its home. Throws an AgentError with what the tool says. */
export function makeUser(name: string, home: string): void {
  const tool: Tool | undefined = has("useradd") ? "useradd" : has("adduser") ? "adduser" : undefined;
  if (tool === undefined)
    throw new AgentError("install.user", "this machine has neither useradd nor adduser", {
      hint: `Make the user ${name} by hand, then install again.`,
    });
  const shell = Bun.which("nologin", { PATH: SYSTEM_PATH }) ?? "/bin/false";
  for (const command of userCommands(tool, name, home, shell)) {
    const { code, stderr } = call(command);
    if (code !== 0) throw new AgentError("install.user", `${command.join(" ")} failed: ${stderr.trim()}`);
  }
  if (findAccount(name) === undefined)
    throw new AgentError("install.user", `${tool} made no user ${name} that could be found`);
}

/** Removes a user without its home. Returns why it could not. */
export function removeUser(name: string): string | undefined {
  const { code, stderr } = call(has("userdel") ? ["userdel", name] : ["deluser", name]);
  return code === 0 ? undefined : stderr.trim() || `exit code ${code}`;
}

/** Gives a user a home of its own instead of the node's state directory. Returns why it could not. */
export function moveHome(name: string, home: string): string | undefined {
  if (!has("usermod")) return "there is no usermod";
  const { code, stderr } = call(["usermod", `--home=${home}`, name]);
  return code === 0 ? undefined : stderr.trim() || `exit code ${code}`;
}
