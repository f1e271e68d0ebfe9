// Lays files out below a directory, for the tools that make a package of it.
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { PackageFile } from "./files.ts";

/** Writes the files; directories between get mode 0755. */
export function layOut(directory: string, files: readonly PackageFile[]): void {
  for (const file of files) {
    const path = join(directory, file.path);
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    if ("target" in file) symlinkSync(file.target, path);
    else writeFileSync(path, file.content, { mode: file.mode });
  }
}
