// The notes of a version, out of CHANGELOG.md.

export interface NoteGroup {
  readonly title: string;
  readonly items: readonly string[];
}

/**
 * The bullets below `## VERSION`, those below a `### Title` as a group of that title. Throws when the version has none: a
 * release that says nothing was not finished. Pure.
 */
export function notesOf(changelog: string, version: string): readonly NoteGroup[] {
  const sections = changelog.split(/^## /m).slice(1);
  const section = sections.find((text) => text.split("\n", 1)[0]?.trim() === version) ?? "";
  const groups = section
    .slice(section.indexOf("\n") + 1)
    .split(/^### /m)
    .map((text, index): NoteGroup => {
      const [title, body] = index === 0 ? ["Changes", text] : split(text);
      const items = body
        .split(/^- /m)
        .slice(1)
        .map((item) => item.replaceAll(/\s+/g, " ").trim());
      return { title: title.trim(), items };
    })
    .filter(({ items }) => items.length > 0);
  if (groups.length === 0) throw new Error(`CHANGELOG.md says nothing below "## ${version}"`);
  return groups;
}

function split(text: string): [string, string] {
  const end = text.indexOf("\n");
  return end < 0 ? [text, ""] : [text.slice(0, end), text.slice(end)];
}
