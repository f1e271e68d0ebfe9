// Renders the manual page (roff, the man macros) from the declarations of commands and settings. Pure.
import { environmentNames, optionKeys, optionOf } from "../../config/options.ts";
import { STATE_DIRECTORY, places } from "../../install/places.ts";
import type { CommandOutline, FlagOutline } from "../outline.ts";

const EXIT_CODES = [
  ["0", "done"],
  ["1", "failed"],
  ["2", "wrong usage, wrong configuration"],
  ["3", "not enrolled"],
  ["4", "the control plane cannot be reached"],
  ["5", "refused by the server, the owner's settings or permissions"],
  ["6", "degraded (status, and a service that was started and does not work yet)"],
  ["130", "interrupted"],
  ["141", "the reader of the output left before the end"],
] as const;

const FILES = [
  [places.config, "The configuration of the installed service; config.yaml where that stands there."],
  [`${STATE_DIRECTORY}/`, "Identity and state."],
  [places.program, "The executable."],
  [`${places.dropIns}/`, "Changes of the owner to the unit; never touched."],
] as const;

/** Returns the page of section 8. `date` is as people write it: "2026-11-26". */
export function renderManual(
  commands: readonly CommandOutline[],
  { version, date }: { readonly version: string; readonly date: string },
): string {
  const [program, ...others] = commands;
  return [
    '.\\" Written by `noderax-agent man`.',
    `.TH NODERAX\\-AGENT 8 ${text(date)} ${word(`noderax-agent ${version}`)} "System administration"`,
    ".nh",
    ".ad l",
    ".SH NAME",
    `noderax\\-agent \\- ${text(program?.description ?? "")}`,
    ".SH SYNOPSIS",
    ".B noderax\\-agent",
    "[\\fIcommand\\fR] [\\fIflags\\fR]",
    ".SH DESCRIPTION",
    "One executable that turns a Linux machine into a managed node of a Noderax or a Caravanserai control plane.",
    "Without a command it runs the agent in the foreground.",
    ".SH COMMANDS",
    ...others.flatMap(commandSection),
    ".SH SETTINGS",
    "Each stands in the configuration file, and is a flag of the commands that read it: log_level is \\-\\-log\\-level.",
    ...optionKeys.flatMap((key) => [
      ".TP",
      `.B ${text(key)}`,
      text(optionOf(key).doc),
      ...(optionOf(key).default === undefined ? [] : [text(`Default: ${String(optionOf(key).default)}.`)]),
      text(`Environment: ${environmentNames(key).join(", ")}.`),
    ]),
    ".SH FILES",
    ...FILES.flatMap(([path, meaning]) => [".TP", `.I ${text(path)}`, text(meaning)]),
    ".SH EXIT STATUS",
    ...EXIT_CODES.flatMap(([code, meaning]) => [".TP", `.B ${code}`, text(meaning)]),
    "",
  ].join("\n");
}

function commandSection({
  path,
  description,
  flags,
  takesSettings,
  examples,
  ...rest
}: CommandOutline): string[] {
  const words = rest.arguments.map(({ name, isRequired }) => (isRequired ? `<${name}>` : `[${name}]`));
  if (rest.rest !== undefined) words.push(`[${rest.rest.name}...]`);
  if (rest.below.length > 0) words.push("<command>");
  const own = flags.filter(({ spellings }) => !spellings.includes("--help"));
  return [
    `.SS ${word([...path, ...words].join(" "))}`,
    `${text(description.charAt(0).toUpperCase() + description.slice(1))}.`,
    ...rest.arguments.flatMap((argument) => [".TP", `.I ${text(argument.name)}`, text(argument.description)]),
    ...own.flatMap(flagItem),
    ...(takesSettings ? [".P", "Every setting is a flag of it, too."] : []),
    ...(examples.length === 0
      ? []
      : [".P", ".EX", ...examples.map((example) => `  ${text(`noderax-agent ${example}`)}`), ".EE"]),
  ];
}

function flagItem({ spellings, value, hint, description }: FlagOutline): string[] {
  const names = spellings.map((one) => `\\fB${text(one)}\\fR`).join(", ");
  return [".TP", value === undefined ? names : `${names} \\fI${text(hint)}\\fR`, text(description)];
}

/** Escapes what roff reads as a command or as another character. */
const text = (line: string): string =>
  line
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("…", "...")
    .replaceAll("–", "\\(en")
    .replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti")
    .replace(/^(?=[.'])/, "\\&");

const word = (line: string): string => `"${text(line).replaceAll('"', "\\(dq")}"`;
