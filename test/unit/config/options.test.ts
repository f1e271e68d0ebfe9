// The table itself: names are complete, unambiguous and documented.
import { expect, test } from "bun:test";
import {
  configurationTable,
  tableBegin,
  tableEnd,
  withConfigurationTable,
} from "../../../src/config/describe.ts";
import { environmentNames, flagNames, optionKeys, optionOf } from "../../../src/config/options.ts";

const repeated = (names: readonly string[]): string[] =>
  names.filter((name, index) => names.indexOf(name) !== index);

test("no two settings share a variable or a flag", () => {
  expect(repeated(optionKeys.flatMap((key) => environmentNames(key)))).toEqual([]);
  expect(repeated(optionKeys.flatMap((key) => flagNames(key)))).toEqual([]);
});

test("every setting can be set by NODERAX_ and its name, and has one line of documentation", () => {
  for (const key of optionKeys) {
    expect(environmentNames(key)[0]).toBe(`NODERAX_${key.toUpperCase()}`);
    expect(optionOf(key).doc).toMatch(/^[A-Z].{10,110}\.$/);
  }
});

test("no flag begins with no-, which would negate another", () => {
  expect(optionKeys.flatMap(flagNames).filter((name) => name.startsWith("no-"))).toEqual([]);
});

test("every secret of the contracts is marked as one", () => {
  expect(optionKeys.filter((key) => optionOf(key).secret)).toEqual([
    "enrollment_token",
    "agent_token",
    "ipinfo_token",
    "listen_token",
  ]);
});

test("the README's table has one row a setting and nothing of this machine", () => {
  const table = configurationTable();
  for (const key of optionKeys) expect(table).toContain(`| \`${key}\` |`);
  expect(table).toContain("the host's name");
  expect(table.split("\n").filter((line) => line.startsWith("| `"))).toHaveLength(optionKeys.length);
});

test("the table replaces what stands between its markers and nothing else", () => {
  const document = `before\n${tableBegin}\nold\n${tableEnd}\nafter`;
  expect(withConfigurationTable(document)).toBe(`before\n${configurationTable()}\nafter`);
  expect(withConfigurationTable("no markers")).toBe("no markers");
});
