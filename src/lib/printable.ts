// Text of others on a person's terminal: nothing in it may move the cursor, colour, reorder or forge a line.

/** Control characters, and those that change the direction of what follows. */
export const UNPRINTABLE = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u;
const ALL = new RegExp(UNPRINTABLE, "gu");

/** Control characters as `\n`, `\x1b`, `\u202e`, …; everything else as it is. */
export function printable(text: string): string {
  return text.replace(ALL, (character) => escapeOf(character));
}

/** A document with all its texts made printable. */
export function printableIn<T>(document: T): T {
  return JSON.parse(JSON.stringify(document), (_, value: unknown) =>
    typeof value === "string" ? printable(value) : value,
  ) as T;
}

/** JSON that stays the same document, with the control characters escaped that `JSON.stringify` leaves: U+007F to U+009F. */
export const printableJson = (json: string): string =>
  json.replace(/[\u007f-\u009f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);

/** JSON writes the short ones. */
function escapeOf(character: string): string {
  const written = JSON.stringify(character).slice(1, -1);
  if (written.length === 2) return written;
  const code = character.charCodeAt(0).toString(16);
  return code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, "0")}`;
}
