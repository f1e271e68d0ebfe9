// Whether a file that is called like ours in the working directory is another program's.
import { nearest } from "../lib/nearest.ts";
import type { FileEntry } from "./files.ts";
import { isOptionKey, optionKeys, optionOf } from "./options.ts";

/** Settings that other programs call the same: they tell nothing. */
const isShared = (key: string): boolean =>
  key === "log_format" || (isOptionKey(key) && optionOf(key).lenient === true);

const telling = optionKeys.filter((key) => !isShared(key));

/** Edits of a typing error: with more, "server_port" would be our server_url. */
const TYPING_ERROR = 2;

/** So many keys are compared with ours: comparing fifty thousand takes ten seconds, and ours has fewer than a hundred. */
const COMPARED_MAX = 100;

/** True when no key is ours, not even with a typing error. A file without any key is nobody's, so it may be ours. */
export function isForeign(entries: readonly Pick<FileEntry, "key">[]): boolean {
  const keys = entries.map(({ key }) => key);
  if (keys.every(isOptionKey) || keys.some((key) => isOptionKey(key) && !isShared(key))) return false;
  return !keys.slice(0, COMPARED_MAX).some(isTypingError);
}

/** Short words are close to each other by chance. */
const isTypingError = (key: string): boolean =>
  key.length >= 6 && nearest(key.slice(0, 64), telling, TYPING_ERROR) !== undefined;

/** The same for a text that cannot be parsed. */
export const mentionsNoKey = (text: string): boolean =>
  !telling.some((key) => new RegExp(`(?<![\\w.-])${key}(?![\\w.-])`).test(text));
