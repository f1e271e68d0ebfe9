// Parses `.env` files: NAME=value lines, with quotes, comments and `export`. Never throws; skips all other
// lines.

export interface DotenvEntry {
  readonly name: string;
  readonly value: string;
  readonly line: number;
}

/** Returns the pairs in their order; a name may be there several times. */
export function parseDotenv(text: string): readonly DotenvEntry[] {
  const entries: DotenvEntry[] = [];
  text
    .replace(/^\ufeff/, "")
    .split(/\r\n|\n|\r/)
    .forEach((content, index) => {
      const [, name, rest] = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)$/.exec(content) ?? [];
      if (name !== undefined) entries.push({ name, value: unquote(rest ?? ""), line: index + 1 });
    });
  return entries;
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

/**
 * Unquotes a value: single quotes keep everything, double quotes know \n \r \t \" \\, bare values end at "
 * #".
 */
function unquote(text: string): string {
  const single = /^'([^']*)'\s*(?:#.*)?$/.exec(text)?.[1];
  if (single !== undefined) return single;
  const double = /^"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$/.exec(text)?.[1];
  if (double !== undefined) return double.replace(/\\(.)/g, (_, letter: string) => ESCAPES[letter] ?? letter);
  const comment = text.search(/(?:^|\s)#/);
  return (comment < 0 ? text : text.slice(0, comment)).trim();
}
