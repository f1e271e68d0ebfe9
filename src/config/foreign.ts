// Recognises files of other programs that have the name of our configuration.
import { nearest } from "../lib/nearest.ts";
import type { FileEntry } from "./files.ts";
import { isOptionKey, optionKeys, optionOf } from "./options.ts";

/** Whether other programs use the same name for a setting: then it identifies nothing. */
const isShared = (key: string): boolean =>
  key === "log_format" || (isOptionKey(key) && optionOf(key).lenient === true);

const identifying = optionKeys.filter((key) => !isShared(key));

/** Most edits of a typing error: with more, "server_port" would pass for our server_url. */
const TYPING_ERROR = 2;

/** Number of keys that are compared: 50,000 would take ten seconds, and ours has fewer than 100. */
const COMPARED_MAX = 100;

/** Returns true when no key is ours, not even with a typing error. False for a file without keys. */
export function isForeign(entries: readonly Pick<FileEntry, "key">[]): boolean {
  const keys = entries.map(({ key }) => key);
  if (keys.every(isOptionKey) || keys.some((key) => isOptionKey(key) && !isShared(key))) return false;
  return !keys.slice(0, COMPARED_MAX).some(isTypingError);
}

/** Compares keys of at least 6 characters: shorter words are similar by chance. */
const isTypingError = (key: string): boolean =>
  key.length >= 6 && nearest(key.slice(0, 64), identifying, TYPING_ERROR) !== undefined;

/** Returns true when a text that cannot be parsed contains none of our keys. */
export const mentionsNoKey = (text: string): boolean =>
  !identifying.some((key) => new RegExp(`(?<![\\w.-])${key}(?![\\w.-])`).test(text));
