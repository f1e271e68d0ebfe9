// Prints one document in detail: a line per field, name and value.
import { printable } from "../../../lib/printable.ts";
import { print, table } from "../../ui/output.ts";

/** Lists the fields of a document, nested ones with dotted names; leaves out null and undefined. */
export function flat(document: object, prefix = ""): [string, string][] {
  return Object.entries(document).flatMap(([key, value]): [string, string][] => {
    if (value === null || value === undefined) return [];
    if (typeof value === "object" && !Array.isArray(value)) return flat(value, `${prefix}${key}.`);
    return [[prefix + key, printable(typeof value === "string" ? value : JSON.stringify(value))]];
  });
}

/** Prints fields as aligned lines. */
export function printFields(fields: readonly (readonly string[])[]): void {
  for (const line of table(fields)) print(line);
}
