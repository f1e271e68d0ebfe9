// Hours of the day in which something may happen: "02:00-04:30", "Sat,Sun 22:00-06:00". Pure; times of this machine's zone.
import { epochOf, wallFrom, type EpochTime } from "./clock.ts";

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"] as const;

export interface TimeWindow {
  /** Days on which it opens, 0 is Sunday. */
  readonly days: readonly number[];
  /** Minutes after midnight. An end before the beginning is on the next day. */
  readonly from: number;
  readonly to: number;
}

const MINUTE = 60_000;
const DAY_MINUTES = 1_440;

/** Parses a window; undefined for any other text, and for one without length. */
export function parseWindow(text: string): TimeWindow | undefined {
  const [, names, h1, m1, h2, m2] =
    /^(?:([A-Za-z]{3}(?:,[A-Za-z]{3})*) +)?(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})$/.exec(text.trim()) ?? [];
  const from = minuteOf(h1, m1);
  const to = minuteOf(h2, m2);
  if (from === undefined || to === undefined || from === to) return undefined;
  const days = names
    ?.split(",")
    .map((name) => DAYS.findIndex((day) => day.toLowerCase() === name.toLowerCase()));
  if (days?.includes(-1)) return undefined;
  return { days: days ?? [0, 1, 2, 3, 4, 5, 6], from, to };
}

function minuteOf(hour: string | undefined, minute: string | undefined): number | undefined {
  const [h, m] = [Number(hour), Number(minute)];
  return h <= 23 && m <= 59 ? h * 60 + m : undefined;
}

/** Returns `now` inside the window, else when it opens next. */
export function opensAt({ days, from, to }: TimeWindow, now: EpochTime): EpochTime {
  const length = (to - from + DAY_MINUTES) % DAY_MINUTES;
  // From yesterday on, whose window may reach into today.
  for (let day = -1; day <= 7; day++) {
    const midnight = new Date(now);
    midnight.setHours(0, 0, 0, 0);
    midnight.setDate(midnight.getDate() + day);
    if (!days.includes(midnight.getDay())) continue;
    const opening = new Date(midnight);
    opening.setHours(0, from, 0, 0);
    const opens = opening.getTime();
    if (now < opens) return epochOf(wallFrom(opens));
    if (now < opens + length * MINUTE) return now;
  }
  return now;
}
