// Parses the text or JSON of one value into its typed form, and writes it back. Explains what is allowed.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { formatSize, parseSize } from "../lib/size.ts";
import { formatDuration, parseDuration } from "../lib/duration.ts";
import type { ListOption, NumberOption, Option, OptionValue, UrlOption } from "./option.ts";

/** `problem` is worded to follow the quoted value: `"30" is not a duration (…)`. */
export type Parsed =
  | { readonly value: OptionValue; readonly problem?: never }
  | { readonly problem: string; readonly value?: never };

/** Value of a key in a source; always text outside of files. */
export type RawValue = string | number | boolean | null | readonly RawValue[] | { readonly nested: true };

/** Missing, null and empty values mean "not set here": installers and service units write them. */
export const isUnset = (raw: RawValue, option?: Pick<Option, "blank">): boolean =>
  raw === null || (typeof raw === "string" && raw.trim() === "" && option?.blank !== true);

// The longest path of Linux; the patterns below would take minutes for longer numbers.
const MAX_LENGTH = 4_096;

/**
 * Parses a value. Resolves relative paths against `beside`, the directory of their file; against `cwd`
 * without one, and if the path exists only there, as the Go agent does.
 */
export function parseValue(option: Option, raw: RawValue, cwd: string, beside = cwd): Parsed {
  if (option.type === "list") return parseList(option, raw);
  if (raw === null || typeof raw === "object")
    return { problem: `must be ${allowed(option)}, a single value` };
  const text = String(raw).trim();
  if (text.length > MAX_LENGTH) return { problem: `is longer than ${MAX_LENGTH} characters` };
  // Such a character would end a header, path or argument in the middle of the value.
  if (/\p{Cc}/u.test(text)) return { problem: "contains control characters" };
  return parseText(option, text, cwd, beside);
}

function parseText(
  option: Exclude<Option, { type: "list" }>,
  text: string,
  cwd: string,
  beside: string,
): Parsed {
  switch (option.type) {
    case "boolean":
      return parseBoolean(text);
    case "integer":
    case "number":
      return parseNumber(option, text);
    case "duration":
      return parseTimeSpan(text);
    case "size": {
      const size = parseSize(text);
      return size === undefined || size < 1
        ? { problem: `is not a size (${allowed(option)})` }
        : { value: size };
    }
    case "enum": {
      const value = option.values.find((known) => known === text.toLowerCase());
      return value === undefined ? { problem: `must be one of ${option.values.join(", ")}` } : { value };
    }
    case "url":
      return parseUrl(option, text);
    case "path": {
      const [near, there] = [resolve(beside, text), resolve(cwd, text)];
      const value = !existsSync(near) && existsSync(there) ? there : near;
      return option.mustExist && !existsSync(value) ? { problem: "does not exist" } : { value };
    }
    case "string": {
      const problem = option.check?.(text);
      return problem === undefined ? { value: option.normalise?.(text) ?? text } : { problem };
    }
    default:
      return option satisfies never;
  }
}

// Words of Go for JSON, environment and flags, and those of YAML 1.1, which Go's YAML reader accepts.
const TRUE = new Set(["true", "t", "1", "yes", "on"]);
const FALSE = new Set(["false", "f", "0", "no", "off"]);

function parseBoolean(text: string): Parsed {
  const word = text.toLowerCase();
  if (TRUE.has(word)) return { value: true };
  return FALSE.has(word) ? { value: false } : { problem: "must be true or false" };
}

function parseNumber(option: NumberOption, text: string): Parsed {
  const value = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
  const fits =
    value >= option.min && value <= option.max && (option.type === "number" || Number.isInteger(value));
  return fits ? { value } : { problem: `must be ${allowed(option)}` };
}

function parseTimeSpan(text: string): Parsed {
  const value = parseDuration(text);
  if (value === undefined) return { problem: "is not a duration (give a unit: 30s, 1m, 2m30s)" };
  return value > 0 ? { value } : { problem: "must be more than zero (30s, 1m, 2m30s)" };
}

/** Adds the scheme when it is missing and removes slashes from the end. */
function parseUrl({ scheme }: UrlOption, text: string): Parsed {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `${scheme}://${text}`);
  if (url === null || url.hostname === "") return { problem: `is not an address (${scheme}://host.example)` };
  if (url.protocol !== "http:" && url.protocol !== "https:")
    return { problem: "must begin with http:// or https://" };
  if (url.username !== "" || url.password !== "")
    return { problem: "must not contain a user name or password" };
  if (url.search !== "" || url.hash !== "") return { problem: "must end with the path, without ? or #" };
  return { value: `${url.origin}${url.pathname}`.replace(/\/+$/, "") };
}

function parseList(option: ListOption, raw: RawValue): Parsed {
  const items = Array.isArray(raw) ? raw : typeof raw === "string" ? raw.split(",") : [raw];
  const texts = items.filter((item) => typeof item === "string");
  if (texts.length < items.length) return { problem: "must be a list of texts (a,b)" };
  const value = texts.map((item) => item.trim()).filter((item) => item !== "");
  const problem = option.check?.(value);
  return problem === undefined ? { value } : { problem };
}

/** Describes the allowed values, for messages and the documentation: "one of debug, info, …". */
export function allowed(option: Option): string {
  switch (option.type) {
    case "boolean":
      return "true or false";
    case "integer":
    case "number":
      return `${option.type === "integer" ? "a whole number" : "a number"} from ${option.min} to ${option.max}`;
    case "duration":
      return "a duration: 30s, 1m, 2m30s";
    case "size":
      return "give a unit: 512MiB, 1GiB";
    case "enum":
      return `one of ${option.values.join(", ")}`;
    case "url":
      return "an http or https address";
    case "path":
      return "a path";
    case "list":
      return "a list: a,b";
    case "string":
      return "a text";
    default:
      return option satisfies never;
  }
}

/** Writes the value as a user would, so that `parseValue` returns the same. */
export function formatValue(option: Option, value: OptionValue): string {
  if (option.type === "duration" && typeof value === "number") return formatDuration(value);
  if (option.type === "size" && typeof value === "number") return formatSize(value);
  return Array.isArray(value) ? value.join(",") : String(value);
}
