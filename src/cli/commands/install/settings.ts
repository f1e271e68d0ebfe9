// The settings that an installation writes: those of flags, of NODERAX_* variables, and of a file that is named.
import { editConfig, editText } from "../../../config/edit.ts";
import { type OptionKey, optionKeys, optionOf } from "../../../config/options.ts";
import type { Sources } from "../../../config/sources.ts";
import type { RawValue } from "../../../config/value.ts";
import type { Transaction } from "../../../install/apply.ts";
import { places } from "../../../install/places.ts";
import { textIn } from "../../../platform/lenient-reads.ts";
import { resolve } from "node:path";

export interface SettingsChange {
  /** The file that the service reads. */
  readonly path: string;
  /** What has another value by now; empty when the file says all of it already. */
  readonly changed: ReadonlyMap<OptionKey, string>;
}

/** Everything that applies now and will not be found by the service, which reads its file alone. */
export async function settingsChange(sources: Sources, path: string): Promise<SettingsChange> {
  const wanted = new Map<OptionKey, string>();
  for (const key of optionKeys) {
    const found = sources.find(key);
    if (found === undefined || (found.origin.from === "file" && found.origin.path === path)) continue;
    wanted.set(key, isPath(key) ? resolve(textOf(found.raw)) : textOf(found.raw));
  }
  const state = sources.find("state_file");
  if (state === undefined) wanted.set("state_file", places.identity);
  const text = textIn(path);
  const changed = new Map<OptionKey, string>();
  for (const [key, value] of wanted)
    if ((await editText(path, text, new Map([[key, value]]))) !== text) changed.set(key, value);
  return { path, changed };
}

const isPath = (key: OptionKey): boolean => optionOf(key).type === "path";

function textOf(raw: RawValue): string {
  if (Array.isArray(raw)) return raw.map((item: RawValue) => textOf(item)).join(",");
  return typeof raw === "object" ? "" : String(raw);
}

/** Returns a line about the settings that change, with secrets masked; none when nothing changes. */
export function describeSettings({ path, changed }: SettingsChange): string[] {
  if (changed.size === 0) return [];
  const shown = [...changed].map(([key, value]) => (optionOf(key).secret ? `${key}=…` : `${key}=${value}`));
  return [`set in ${path}: ${shown.join(", ")}`];
}

/** Writes the changed settings to the configuration file, and remembers the file for `undo`. */
export async function configure({ path, changed }: SettingsChange, changes: Transaction): Promise<void> {
  changes.remember(path);
  if (changed.size === 0) return;
  await editConfig({ path, changes: changed, mirror: process.env["NODERAX_CONFIG_MIRROR_FILE"] });
}
