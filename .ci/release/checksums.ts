// SHA256SUMS of all files of a release.
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256Of } from "./artefacts.ts";
import type { Release } from "./release.ts";

export const SUMS = "SHA256SUMS";

/** Writes SHA256SUMS of all files that are there, in the form of `sha256sum`. Returns its content. */
export function writeChecksums({ directory }: Release): string {
  const lines = readdirSync(directory)
    .filter((name) => !name.startsWith(SUMS) && !name.startsWith("."))
    .toSorted()
    .map((name) => `${sha256Of(join(directory, name))}  ${name}\n`);
  writeFileSync(join(directory, SUMS), lines.join(""));
  return lines.join("");
}
