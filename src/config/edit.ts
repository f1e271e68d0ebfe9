// Changes single settings in a configuration file and leaves the rest of it unchanged.
import { realpathSync, statSync } from "node:fs";
import { AgentError, exit, messageOf } from "../lib/agent-error.ts";
import { isRoot } from "../platform/account.ts";
import { writeFileAtomic } from "../platform/atomic-file.ts";
import { kindOf, malformed, openFile } from "./files.ts";
import { type JsonObject, scanJson } from "./json.ts";
import { type OptionKey, optionOf } from "./options.ts";
import { parseValue } from "./value.ts";

/** New values as text, as a user types them; `undefined` removes the key. */
export type Changes = ReadonlyMap<OptionKey, string | undefined>;

export interface EditOptions {
  readonly path: string;
  readonly changes: Changes;
  /** `$NODERAX_CONFIG_MIRROR_FILE`: a copy is written there with every save. */
  readonly mirror?: string | undefined;
}

/**
 * Writes the changes atomically with mode 0600; makes a missing file. Values must be validated before.
 * Returns warnings. Throws an AgentError when the file is malformed or cannot be written.
 */
export async function editConfig({ path, changes, mirror }: EditOptions): Promise<readonly string[]> {
  const target = followLink(path);
  const text = await editText(path, openFile(target)?.text ?? "", changes);
  save(target, text);
  if (!mirror) return [];
  try {
    save(followLink(mirror), text);
    return [];
  } catch (error) {
    return [`the copy ${mirror} was not written: ${messageOf(error)}`];
  }
}

/** Returns the new text of the file. */
export async function editText(path: string, text: string, changes: Changes): Promise<string> {
  try {
    if (kindOf(path) === "json") return editJson(text, changes);
    const { editYaml } = await import("./yaml.ts");
    return editYaml(
      text,
      new Map([...changes].map(([key, value]) => [key, value && storedValue(key, value)])),
    );
  } catch (error) {
    throw malformed(path, error);
  }
}

/** Returns the JSON text with the changes made; comments and format of the rest stay. */
export function editJson(text: string, changes: Changes): string {
  let edited = text.trim() === "" ? "{}\n" : text;
  for (const [key, value] of changes) {
    edited =
      value === undefined ? removeMember(edited, key) : setMember(edited, key, storedValue(key, value));
  }
  return edited;
}

/**
 * Writes numbers and booleans by their type, normalises addresses, and keeps everything else as it was typed.
 */
function storedValue(key: OptionKey, text: string): string | number | boolean {
  const option = optionOf(key);
  if (option.type === "path" || option.type === "duration" || option.type === "size") return text.trim();
  const { value } = parseValue(option, text, "/");
  return typeof value === "object" || value === undefined ? text.trim() : value;
}

function setMember(text: string, key: string, value: string | number | boolean): string {
  const object = scanJson(text);
  const written = JSON.stringify(value);
  const member = object.members.find((member) => member.key === key);
  if (member) return text.slice(0, member.valueStart) + written + text.slice(member.valueEnd);
  const last = object.members.at(-1);
  const pair = `${JSON.stringify(key)}: ${written}`;
  if (last)
    return `${text.slice(0, last.valueEnd)},${gapBefore(text, object)}${pair}${text.slice(last.valueEnd)}`;
  return `${text.slice(0, object.start + 1)}\n  ${pair}\n${text.slice(object.end)}`;
}

/** Returns the white space before the last key, to indent as the file does. */
function gapBefore(text: string, { members }: JsonObject): string {
  const last = members.at(-1);
  return last ? (/\s*$/.exec(text.slice(0, last.keyStart))?.[0] ?? "") : "\n  ";
}

function removeMember(text: string, key: string): string {
  const { members, start, end } = scanJson(text);
  const index = members.findIndex((member) => member.key === key);
  if (index < 0) return text;
  const next = members[index + 1];
  const member = members[index];
  if (member && next) return text.slice(0, member.keyStart) + text.slice(next.keyStart);
  const previous = members[index - 1];
  if (member && previous) return text.slice(0, previous.valueEnd) + text.slice(member.valueEnd);
  return `${text.slice(0, start + 1)}${text.slice(end)}`;
}

/**
 * Returns the target of a symbolic link: replacing the link would disconnect the file that its owner manages.
 */
function followLink(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function save(path: string, text: string): void {
  const before = statSync(path, { throwIfNoEntry: false });
  try {
    // Root that edits the file of a service user must leave it readable to that user.
    writeFileAtomic(path, text, 0o600, isRoot() ? before : undefined);
  } catch (error) {
    const denied = /EACCES|EPERM|EROFS/.test(messageOf(error));
    throw new AgentError(
      "config.write",
      `${path} cannot be written: ${denied ? "permission denied" : messageOf(error)}`,
      {
        exit: denied ? exit.refused : exit.failed,
        hint: denied ? "Run it with sudo, or name another file with --config." : undefined,
        cause: error,
      },
    );
  }
}
