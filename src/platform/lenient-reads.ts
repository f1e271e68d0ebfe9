// Reads of files and directories that may be missing or closed to us, where that is the same as their being empty.
import { readFileSync, readdirSync } from "node:fs";

/** The names in a directory, in no order; none when it cannot be read. */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** The text of a file; undefined when it cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** The text of a file; the empty text when it cannot be read. */
export const textIn = (path: string): string => readText(path) ?? "";
