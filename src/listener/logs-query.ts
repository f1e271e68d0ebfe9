// Parses the query of a request for logs: "follow=true&tail=100&since=10m". Pure.
import { parseDuration, seconds } from "../lib/duration.ts";
import type { ContainerLogQuery } from "./containers.ts";

/** Returns the query, or a problem that names the parameter. An empty value counts as absent. `now` is in ms since the epoch. */
export function parseLogQuery(
  query: URLSearchParams,
  now: number,
): ContainerLogQuery | { readonly problem: string } {
  const text = (name: string): string => query.get(name) ?? "";
  const follow = parseFlag(text("follow"));
  if (follow === undefined) return wrong("follow", text("follow"), "true or false");
  const timestamps = parseFlag(text("timestamps"));
  if (timestamps === undefined) return wrong("timestamps", text("timestamps"), "true or false");
  const tail = parseTail(text("tail"));
  if (tail === undefined) return wrong("tail", text("tail"), "a number of lines, or all");
  const since = parseSince(text("since"), now);
  if (since === undefined)
    return wrong(
      "since",
      text("since"),
      "a time (2026-01-31T12:00:00Z), seconds since 1970, or an age (10m)",
    );
  return { follow, timestamps, tail, ...(since === "always" ? {} : { since }) };
}

/** Repeats at most 40 characters of the value in the answer. */
const wrong = (name: string, text: string, expected: string): { problem: string } => ({
  problem: `${name}: ${JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text)} is not ${expected}`,
});

const FLAGS: Readonly<Record<string, boolean>> = {
  "": false,
  "0": false,
  false: false,
  "1": true,
  true: true,
};

const parseFlag = (text: string): boolean | undefined =>
  Object.hasOwn(FLAGS, text) ? FLAGS[text] : undefined;

function parseTail(text: string): number | "all" | undefined {
  if (text === "" || text === "all") return "all";
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

/** Parses into seconds since the epoch; "always" for no limit; `undefined` for what is not a time. */
function parseSince(text: string, now: number): number | "always" | undefined {
  if (text === "") return "always";
  if (/^\d{1,12}(\.\d{1,9})?$/.test(text)) return Number(text);
  const age = parseDuration(text);
  if (age !== undefined) return age < 0 ? undefined : Math.max(0, now - age) / seconds(1);
  return parseTime(text);
}

/** Parses RFC 3339. An unencoded plus sign arrives as a space. */
function parseTime(text: string): number | undefined {
  const tidy = text.replace(/ (?=\d\d:\d\d$)/, "+");
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/i.test(tidy)) return undefined;
  const time = Date.parse(tidy);
  return Number.isNaN(time) ? undefined : Math.max(0, time) / seconds(1);
}
