// Stamps install.sh with what it must know of its release.
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Release } from "./release.ts";

/** Fills assignments of the script. Throws where it has no such assignment. Pure. */
export function stamped(script: string, stamps: Readonly<Record<string, string>>): string {
  return Object.entries(stamps).reduce((text, [name, value]) => {
    const assignment = new RegExp(`^${name}='[^']*'`, "m");
    if (!assignment.test(text)) throw new Error(`the script has no ${name}`);
    return text.replace(assignment, () => `${name}='${value}'`);
  }, script);
}

/** Publishes the script with version, place and checksums, and the key that signs them. */
export function publishScript(
  { version, place, directory }: Release,
  script: string,
  sums: string,
  key: { readonly ssh: string; readonly pem: string; readonly minisign: string } | undefined,
): void {
  const stamps = {
    RELEASE_VERSION: version,
    RELEASE_PLACE: place === "" ? "" : `${place}/{version}`,
    RELEASE_SUMS: sums.trimEnd(),
    RELEASE_KEY_SSH: key?.ssh ?? "",
    RELEASE_KEY_PEM: key?.pem ?? "",
    RELEASE_KEY_MINISIGN: key?.minisign ?? "",
  };
  const path = join(directory, "install.sh");
  writeFileSync(path, stamped(readFileSync(script, "utf8"), stamps));
  chmodSync(path, 0o755);
}
