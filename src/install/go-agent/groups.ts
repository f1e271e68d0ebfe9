// Groups whose members are root in all but name. Pure.

const AS_GOOD_AS_ROOT = ["root", "docker", "lxd", "incus-admin", "disk", "shadow"];

/** Returns the names of the groups of a user, from the text of /etc/group. */
export function groupsOf(account: { readonly name: string; readonly gid: number }, text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.split(":"))
    .filter(
      ([, , gid, members]) =>
        gid === String(account.gid) || (members ?? "").trim().split(",").includes(account.name),
    )
    .flatMap(([name]) => name ?? []);
}

/** Returns those of the groups whose members can become root. */
export const asGoodAsRoot = (groups: readonly string[]): string[] =>
  groups.filter((name) => AS_GOOD_AS_ROOT.includes(name));
