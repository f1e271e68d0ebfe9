// Reads and writes durations in the syntax of Go ("30s", "2m30s", "1.5h"). A duration is a number of
// milliseconds.

/** A length of time in milliseconds. Write one with `seconds(30)`, never as a bare number. */
export type Duration = number;

export const milliseconds = (n: number): Duration => n;
export const seconds = (n: number): Duration => n * 1_000;
export const minutes = (n: number): Duration => n * 60_000;
export const hours = (n: number): Duration => n * 3_600_000;
export const days = (n: number): Duration => n * 86_400_000;

const UNITS: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1e3,
  m: 6e4,
  h: 3.6e6,
};

/**
 * Characters. Longer than any duration a person writes; the pattern below takes quadratic time on many
 * digits.
 */
const TEXT_MAX = 100;

/**
 * Parses one or more decimal numbers, each with a unit, with an optional sign; "0" needs no unit. Returns
 * undefined for anything else, so that the caller can name the setting.
 */
export function parseDuration(text: string): Duration | undefined {
  if (text.length > TEXT_MAX) return undefined;
  const trimmed = text.trim();
  const sign = trimmed.startsWith("-") ? -1 : 1;
  const body = trimmed.replace(/^[+-]/, "");
  if (body === "0") return 0;
  if (!/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(body)) return undefined;
  let total = 0;
  for (const [, number, unit] of body.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    total += Number(number) * (UNITS[unit ?? ""] ?? 0);
  }
  // Rounded to the nanosecond, the resolution of Go: 1.001 · 1000 is 1000.9999999999999 in binary.
  return Number.isFinite(total) ? sign * (Math.round(total * 1e6) / 1e6) : undefined;
}

/** Writes a duration so that `parseDuration` returns the same value: "30s", "2m30s", "1h0.5s". */
export function formatDuration(duration: Duration): string {
  if (duration === 0) return "0s";
  const sign = duration < 0 ? "-" : "";
  let rest = Math.abs(duration);
  if (rest < 1_000) return `${sign}${decimal(rest, 6)}ms`;
  let text = "";
  for (const [unit, size] of [
    ["h", 3_600_000],
    ["m", 60_000],
  ] as const) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  if (rest > 0) text += `${decimal(rest / 1_000, 9)}s`;
  return sign + text;
}

/**
 * Writes a duration for people, with two units at most: "12s", "4m 10s", "3h", "3d 4h". Negative ones count
 * as 0.
 */
export function humanDuration(duration: Duration): string {
  const total = Math.max(0, Math.round(duration / 1_000));
  const [d, h, m, s] = [
    Math.floor(total / 86_400),
    Math.floor(total / 3_600) % 24,
    Math.floor(total / 60) % 60,
    total % 60,
  ];
  const parts =
    d > 0
      ? [`${d}d`, h > 0 && `${h}h`]
      : h > 0
        ? [`${h}h`, m > 0 && `${m}m`]
        : m > 0
          ? [`${m}m`, s > 0 && `${s}s`]
          : [`${s}s`];
  return parts.filter(Boolean).join(" ");
}

/** Rounds to `places`, without trailing zeros and never in exponential notation. */
const decimal = (n: number, places: number): string => n.toFixed(places).replace(/\.?0+$/, "");
