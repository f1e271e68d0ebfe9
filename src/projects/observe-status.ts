// How long ago something was, from the words of a container listing: "Up 5 seconds (healthy)", "Exited (1) 2 hours ago". Pure.
import { type Duration, days, hours, minutes, seconds } from "../lib/duration.ts";

/** Docker rounds, so an age is a range. */
export interface Age {
  readonly least: Duration;
  readonly most: Duration;
}

const UNITS: Record<string, Duration> = {
  second: seconds(1),
  minute: minutes(1),
  hour: hours(1),
  day: days(1),
  week: days(7),
  month: days(30),
  year: days(365),
};

/** Undefined for words that tell no age. */
export function ageOf(status: string): Age | undefined {
  if (/less than a second/i.test(status)) return { least: 0, most: seconds(1) };
  if (/about a minute/i.test(status)) return { least: minutes(1), most: minutes(2) };
  // Hours are rounded to the nearest one.
  if (/about an hour/i.test(status)) return { least: hours(1) - minutes(30), most: hours(2) };
  const match = /(\d+) (second|minute|hour|day|week|month|year)s?\b/.exec(
    status.replace(/^Exited \(-?\d+\)/, ""),
  );
  const unit = UNITS[match?.[2] ?? ""];
  if (match === null || unit === undefined) return undefined;
  const count = Number(match[1]);
  const below = match[2] === "hour" ? 0.5 : 0;
  return { least: (count - below) * unit, most: (count + 1) * unit };
}
