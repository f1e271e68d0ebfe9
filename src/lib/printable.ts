// Text of others on a person's terminal: nothing in it may move the cursor, colour or forge a line.

/** Control characters as `\n`, `\x1b`, …; everything else as it is. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => escapeOf(character));
}

/** JSON writes most of them; DEL and the second block it leaves as they are. */
function escapeOf(character: string): string {
  const written = JSON.stringify(character).slice(1, -1);
  const code = character.charCodeAt(0).toString(16).padStart(2, "0");
  return written.length === 2 ? written : `\\x${code}`;
}
