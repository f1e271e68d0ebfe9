// Turns a line of a log file, or an entry of the journal, into an entry of the answer. Pure.
import { decodeText } from "../../lib/utf8.ts";

export interface ScanEntry {
  /** ISO, UTC; undefined where the line has none. */
  readonly timestamp?: string;
  readonly message: string;
  /** The unit of systemd that wrote it. */
  readonly unit?: string;
  /** The program: "sshd", "kernel". */
  readonly identifier?: string;
}

/** rsyslog's own form since Debian 12: "2026-11-26T21:45:30.123456+00:00 host sshd[4711]: text". */
const RFC3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)) (\S+) (.*)$/s;
/** "Nov  6 21:45:30 host sshd[4711]: text" */
const CLASSIC = /^([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\S+) (.*)$/s;
const TAGGED = /^([^\s:[]{1,128})(?:\[\d+\])?: ?(.*)$/s;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** A clock that is a little ahead must not make a line of today one of last year. */
const AHEAD = 24 * 60 * 60 * 1_000;

/** Takes time and program out of a line of syslog; any other line is the message as it is. `now` gives a date its year. */
export function entryOfLine(line: string, now: Date): ScanEntry {
  const modern = RFC3339.exec(line);
  if (modern !== null) {
    const at = Date.parse(modern[1] ?? "");
    if (!Number.isNaN(at)) return tagged(modern[3] ?? "", new Date(at));
  }
  const classic = CLASSIC.exec(line);
  const at = classic === null ? undefined : timeOf(classic, now);
  return classic === null || at === undefined ? { message: line } : tagged(classic[7] ?? "", at);
}

/** Such a date has neither year nor zone: the machine's zone, and the latest year in which it is not in the future. */
function timeOf([, month, day, ...clock]: readonly (string | undefined)[], now: Date): Date | undefined {
  const index = MONTHS.indexOf(month ?? "");
  const [hour, minute, second] = clock.map(Number);
  if (index < 0) return undefined;
  const inYear = (year: number): Date =>
    new Date(year, index, Number(day), hour ?? 0, minute ?? 0, second ?? 0);
  const thisYear = inYear(now.getFullYear());
  return thisYear.getTime() > now.getTime() + AHEAD ? inYear(now.getFullYear() - 1) : thisYear;
}

function tagged(text: string, at: Date): ScanEntry {
  const timestamp = at.toISOString();
  const tag = TAGGED.exec(text);
  if (tag === null) return { timestamp, message: text };
  const [, identifier = "", message = ""] = tag;
  return { timestamp, message, identifier };
}

/** One line of `journalctl --output=json`, with its cursor; undefined for anything else. */
export function entryOfJournal(line: string): { entry: ScanEntry; cursor: string | undefined } | undefined {
  let fields: unknown;
  try {
    fields = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) return undefined;
  const field = (name: string): string | undefined =>
    textOf((fields as Readonly<Record<string, unknown>>)[name]);
  const micros = Number(field("__REALTIME_TIMESTAMP"));
  const at = micros > 0 ? new Date(micros / 1_000) : undefined;
  const unit = field("_SYSTEMD_UNIT");
  const identifier = field("SYSLOG_IDENTIFIER");
  const entry: ScanEntry = {
    ...(at === undefined || Number.isNaN(at.getTime()) ? {} : { timestamp: at.toISOString() }),
    message: field("MESSAGE") ?? "",
    ...(unit === undefined ? {} : { unit }),
    ...(identifier === undefined ? {} : { identifier }),
  };
  return { entry, cursor: field("__CURSOR") };
}

/** A field is text, bytes where it is not UTF-8, a list where it occurs several times, and null where it is too long. */
function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return value === null ? "(an entry that is too long)" : undefined;
  const isBytes = value.every((byte) => typeof byte === "number");
  if (isBytes) return decodeText(Uint8Array.from(value));
  return value
    .map(textOf)
    .filter((text) => text !== undefined)
    .join("\n");
}
