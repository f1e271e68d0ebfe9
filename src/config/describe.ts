// Renders the table of settings for the README.
import type { Option } from "./option.ts";
import { type OptionKey, environmentNames, flagNames, optionKeys, optionOf } from "./options.ts";

export const tableBegin = "<!-- settings: made from src/config/options.ts -->";
export const tableEnd = "<!-- end of settings -->";

/** Returns the markdown table between its two markers. */
export function configurationTable(): string {
  const rows = optionKeys.map((key) => `| ${cells(key).map(escapeCell).join(" | ")} |`);
  return [
    tableBegin,
    "",
    "| Setting | Default | Environment | Meaning |",
    "| --- | --- | --- | --- |",
    ...rows,
    "",
    tableEnd,
  ].join("\n");
}

/** Returns `document` with the table between its markers rendered again; unchanged without markers. */
export function withConfigurationTable(document: string): string {
  const begin = document.indexOf(tableBegin);
  const end = document.indexOf(tableEnd, begin);
  if (begin < 0 || end < 0) return document;
  return document.slice(0, begin) + configurationTable() + document.slice(end + tableEnd.length);
}

function cells(key: OptionKey): string[] {
  const option = optionOf(key);
  const [, ...otherFlags] = flagNames(key);
  const also =
    otherFlags.length === 0 ? "" : ` Flag also ${otherFlags.map((flag) => `\`--${flag}\``).join(", ")}.`;
  return [
    `\`${key}\``,
    shownDefault(option),
    environmentNames(key)
      .map((name) => `\`${name}\``)
      .join(" "),
    option.doc + also,
  ];
}

function shownDefault(option: Option): string {
  if (option.defaultNote !== undefined) return option.defaultNote;
  if (option.type === "url" && option.caraDefault !== undefined)
    return `– (as cara-agent \`${option.caraDefault}\`)`;
  return option.default === undefined ? "–" : `\`${String(option.default)}\``;
}

const escapeCell = (text: string): string => text.replaceAll("|", "\\|");

/**
 * YAML in which every setting stands as a comment with its meaning and default: a configuration that sets
 * nothing.
 */
export function exampleConfig(): string {
  const settings = optionKeys.flatMap((key) => {
    const option = optionOf(key);
    const preset = option.default === undefined ? "" : String(option.default);
    const value =
      option.type === "string" || option.type === "url" || preset === "" ? JSON.stringify(preset) : preset;
    return ["", `# ${option.doc}`, `#${key}: ${value}`];
  });
  return [
    "# Settings of noderax-agent. As it is, this file sets nothing: remove the # of what you change.",
    "# config.json takes the same names and goes before this file; environment and flags go before both.",
    ...settings,
    "",
  ].join("\n");
}
