// Escapes untrusted text for a terminal: it must not move the cursor, set colours, reorder or forge lines.

/** Control characters, and characters that change the writing direction. */
export const UNPRINTABLE = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u;
const ALL = new RegExp(UNPRINTABLE, "gu");

/** Writes control characters as `\n`, `\x1b`, `\u202e`, …; leaves everything else unchanged. */
export function printable(text: string): string {
  return text.replace(ALL, (character) => escapeOf(character));
}

/** Returns a copy of a JSON document with all its strings made printable. */
export function printableIn<T>(document: T): T {
  return JSON.parse(JSON.stringify(document), (_, value: unknown) =>
    typeof value === "string" ? printable(value) : value,
  ) as T;
}

/**
 * Escapes the control characters that `JSON.stringify` leaves (U+007F to U+009F); the document stays the
 * same.
 */
export const printableJson = (json: string): string =>
  json.replace(/[\u007f-\u009f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);

/** Uses the two-character escapes of JSON where there are any. */
function escapeOf(character: string): string {
  const written = JSON.stringify(character).slice(1, -1);
  if (written.length === 2) return written;
  const code = character.charCodeAt(0).toString(16);
  return code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, "0")}`;
}
