// How long ago something was at most, from the words of a container listing: "Up 5 seconds (healthy)", "Exited (1) 2 hours ago". Pure.
import { type Duration, days, hours, minutes, seconds } from "../../lib/duration.ts";

const UNITS: Record<string, Duration> = {
  second: seconds(1),
  minute: minutes(1),
  hour: hours(1),
  day: days(1),
  week: days(7),
  month: days(30),
  year: days(365),
};

/** Docker rounds down, hours to the nearest one. Undefined for words that tell no age. */
export function ageAtMost(status: string): Duration | undefined {
  if (/less than a second/i.test(status)) return seconds(1);
  if (/about a minute/i.test(status)) return minutes(2);
  if (/about an hour/i.test(status)) return hours(2);
  const match = /(\d+) (second|minute|hour|day|week|month|year)s?\b/.exec(
    status.replace(/^Exited \(-?\d+\)/, ""),
  );
  const unit = UNITS[match?.[2] ?? ""];
  return match === null || unit === undefined ? undefined : (Number(match[1]) + 1) * unit;
}
