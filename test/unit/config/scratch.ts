// A temporary working directory with real files, and a load that sees nothing outside it.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { AgentError } from "../../../src/lib/agent-error.ts";
import { type Config, loadConfig } from "../../../src/config/load.ts";
import type { LoadOptions } from "../../../src/config/sources.ts";

export interface Scratch extends Disposable {
  readonly path: string;
  at(name: string): string;
  write(name: string, text: string, mode?: number): string;
  read(name: string): string;
  /** Loads with this directory as cwd, an empty environment, and no system-wide files. */
  load(options?: Partial<LoadOptions>): Promise<Config>;
  /** The error such a load ends with. */
  refuses(options?: Partial<LoadOptions>): Promise<AgentError>;
}

export function scratch(files: Readonly<Record<string, string>> = {}): Scratch {
  const path = mkdtempSync(join(tmpdir(), "noderax-config-"));
  const at = (name: string): string => join(path, name);
  const load = (options: Partial<LoadOptions> = {}): Promise<Config> =>
    loadConfig({
      env: {},
      cwd: path,
      search: { json: ["config.local.json", "config.json", "config/config.json"], yaml: ["config.yaml"] },
      ...options,
    });
  const it: Scratch = {
    path,
    at,
    load,
    write(name, text, mode = 0o600) {
      mkdirSync(dirname(at(name)), { recursive: true });
      writeFileSync(at(name), text, { mode });
      return at(name);
    },
    read: (name) => readFileSync(at(name), "utf8"),
    refuses: (options) =>
      load(options).then(
        () => Promise.reject(new Error("the configuration was accepted")),
        (error: AgentError) => error,
      ),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
  for (const [name, text] of Object.entries(files)) it.write(name, text);
  return it;
}

/** Everything an error tells a person. */
export const textOf = ({ message, hint }: AgentError): string => [message, ...hint].join("\n");
