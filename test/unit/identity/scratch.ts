// A directory of the test's own.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** `using directory = scratchDirectory()`, then `directory.at("name")`. */
export function scratchDirectory(): Disposable & { readonly path: string; at(name: string): string } {
  const path = mkdtempSync(join(tmpdir(), "noderax-test-"));
  return {
    path,
    at: (name) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}
