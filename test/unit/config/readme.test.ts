// The README tells the truth about the settings.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { configurationTable, withConfigurationTable } from "../../../src/config/describe.ts";

const path = join(import.meta.dir, "../../../README.md");

test("the README's table of settings is the one the program reads (mend it with: npm run format)", () => {
  const readme = readFileSync(path, "utf8");
  expect(readme).toContain(configurationTable());
  expect(withConfigurationTable(readme)).toBe(readme);
});
