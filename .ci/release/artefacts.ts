// The executables that install.sh downloads: plain, and compressed.
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Release } from "./release.ts";

/** Publishes an executable under the name that install.sh looks for. Returns the names of the files. */
export function publishExecutable({ version, cpu, directory }: Release, executable: string): string[] {
  const name = `noderax-agent-${version}-linux-${cpu}`;
  copyFileSync(executable, join(directory, name));
  // Without a time in its header, which node's and Bun's zlib leave at 0.
  writeFileSync(join(directory, `${name}.gz`), Bun.gzipSync(readFileSync(executable)));
  return [name, `${name}.gz`];
}
