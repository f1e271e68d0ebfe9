// SHA256SUMS of the artefacts.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Release } from "./release.ts";

/** Writes SHA256SUMS of the named files, in the form of `sha256sum`. Returns its lines without the last end. */
export function writeChecksums({ directory }: Release, names: readonly string[]): string {
  const lines = names.map((name) => {
    const hash = createHash("sha256")
      .update(readFileSync(join(directory, name)))
      .digest("hex");
    return `${hash}  ${name}`;
  });
  writeFileSync(join(directory, "SHA256SUMS"), `${lines.join("\n")}\n`);
  return lines.join("\n");
}
