// One thing in detail: its fields below each other, names left, values right.
import { printable } from "../../../lib/printable.ts";
import { print, table } from "../../ui/output.ts";

/** Nested fields by dotted names, without what is not known. */
export function flat(document: object, prefix = ""): [string, string][] {
  return Object.entries(document).flatMap(([key, value]): [string, string][] => {
    if (value === null || value === undefined) return [];
    if (typeof value === "object" && !Array.isArray(value)) return flat(value, `${prefix}${key}.`);
    return [[prefix + key, printable(typeof value === "string" ? value : JSON.stringify(value))]];
  });
}

export function printFields(fields: readonly (readonly string[])[]): void {
  for (const line of table(fields)) print(line);
}
