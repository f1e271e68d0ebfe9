// Faults and timings as documents: snake_case keys, lengths of time as "200ms" or a number of milliseconds.
import * as v from "valibot";
import { type Duration, formatDuration, parseDuration } from "../lib/duration.ts";
import type { Faults } from "./faults.ts";
import type { Timings } from "./timings.ts";

/** "1m30s", or milliseconds. */
const duration = v.pipe(
  v.union([v.string(), v.number()]),
  v.rawTransform(({ dataset, addIssue, NEVER }): Duration => {
    const { value } = dataset;
    const parsed = typeof value === "number" ? value : parseDuration(value);
    if (parsed !== undefined && parsed >= 0) return parsed;
    addIssue({ message: `"${value}" is not a duration (200ms, 30s, 1m30s)` });
    return NEVER;
  }),
);
const RATE = "must be a number between 0 and 1";
const rate = v.pipe(v.number(RATE), v.minValue(0, RATE), v.maxValue(1, RATE));
const COUNT = "must be a whole number, 0 or more";
const count = v.pipe(v.number(COUNT), v.integer(COUNT), v.minValue(0, COUNT));

const FaultsPatch = v.partial(
  v.strictObject({
    delay: duration,
    error_rate: rate,
    lost_answers: rate,
    drop_after: v.nullable(count),
    freeze: v.boolean(),
    database_down: v.boolean(),
    routes: v.nullable(v.array(v.string())),
    seed: v.nullable(v.number()),
    websocket_blocked: v.boolean(),
    task_dispatch: v.boolean(),
    accept_location: v.boolean(),
  }),
);

const TimingsPatch = v.partial(
  v.strictObject({
    claim_lease: duration,
    claim_step: duration,
    claim_race_window: duration,
    log_race_window: duration,
    sweep_interval: duration,
    queued_limit: duration,
    running_limit: duration,
    heartbeat_timeout: duration,
    offline_check: duration,
    enrollment_life: duration,
    install_life: duration,
    throttle_window: duration,
    throttle_limit: count,
    frame_race_window: duration,
    auth_window: duration,
    ping_timeout: duration,
    ping_check: duration,
    engine_ping_interval: duration,
    engine_ping_timeout: duration,
    terminal_open_limit: duration,
    terminal_stop_limit: duration,
    terminal_detach_grace: duration,
    transcript_limit: count,
    project_pass: duration,
    node_silence: duration,
    node_check: duration,
    reschedule_grace: duration,
    terminating_limit: duration,
    terminated_life: duration,
  }),
);

/** What valibot found wrong, in one line. */
export class InvalidDocument extends Error {}

/** Parses an operator's document, or throws InvalidDocument naming the field. */
export function parseDocument<const S extends v.GenericSchema>(schema: S, raw: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, raw);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  throw new InvalidDocument(path === null ? issue.message : `${path}: ${issue.message}`);
}

/** Parses faults to change. Throws `InvalidDocument` with the path of the first problem. */
export function parseFaults(raw: unknown): Partial<Faults> {
  return camelKeys(parseDocument(FaultsPatch, raw));
}

/** Parses timings to change. Throws `InvalidDocument` with the path of the first problem. */
export function parseTimings(raw: unknown): Partial<Timings> {
  return camelKeys(parseDocument(TimingsPatch, raw));
}

/** Returns the faults as the control API shows them. */
export function faultsDocument(faults: Readonly<Faults>): Record<string, unknown> {
  return { ...snakeKeys(faults), delay: formatDuration(faults.delay) };
}

/** Returns the timings as the control API shows them, durations as text. */
export function timingsDocument({
  throttleLimit,
  transcriptLimit,
  ...times
}: Readonly<Timings>): Record<string, unknown> {
  const formatted = Object.entries(times).map(([key, value]) => [key, formatDuration(value)]);
  return {
    ...snakeKeys(Object.fromEntries(formatted)),
    throttle_limit: throttleLimit,
    transcript_limit: transcriptLimit,
  };
}

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : S;
type CamelKeys<T> = { [K in keyof T & string as Camel<K>]?: Exclude<T[K], undefined> };

function camelKeys<T extends object>(document: T): CamelKeys<T> {
  const entries = Object.entries(document).map(([key, value]) => [
    key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
    value,
  ]);
  // The type converts the keys as the line above does.
  return Object.fromEntries(entries) as CamelKeys<T>;
}

function snakeKeys(value: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), inner]),
  );
}
