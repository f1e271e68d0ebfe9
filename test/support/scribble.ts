// A file that something under test writes, and the test waits for.
import { readFileSync, readdirSync } from "node:fs";
import type { Duration } from "../../src/lib/duration.ts";
import { until } from "./until.ts";

export interface Scribble {
  readonly path: string;
  /** Undefined while there is no such file. */
  text(): string | undefined;
  lines(): string[];
  appears(within?: Duration): Promise<string>;
}

export function scribble(path: string): Scribble {
  const text = (): string | undefined => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return undefined;
    }
  };
  return {
    path,
    text,
    lines: () => text()?.trimEnd().split("\n") ?? [],
    async appears(within) {
      await until(`there is ${path}`, () => (text() ?? "") !== "", within);
      return text()?.trim() ?? "";
    },
  };
}

/** Empty where there is no such directory. */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
