// The two clocks of the machine, as two types that the compiler does not let meet.
//
//   SteadyTime  counts from the boot and never steps: deadlines, backoffs, ages
//   WallTime    steps whenever somebody sets the clock: people, files, the wire
import { readFileSync } from "node:fs";
import { uptime } from "node:os";
import { type Duration, seconds } from "./duration.ts";

declare const wall: unique symbol;
declare const steady: unique symbol;

/**
 * A moment by the wall clock. It has no arithmetic and cannot be compared with a SteadyTime: the clock may have been
 * set between two readings.
 */
export interface WallTime {
  readonly [wall]: never;
}

/**
 * A moment in milliseconds since the boot. Every process of this boot counts alike, to about 10 ms, so it may be stored
 * beside `bootId()`.
 */
export type SteadyTime = number & { readonly [steady]?: never };

/** Milliseconds from the boot to the zero of `performance.now()`. */
const processStart = sinceBoot() - performance.now();

function sinceBoot(): Duration {
  try {
    return parseUptime(readFileSync("/proc/uptime", "latin1")) ?? seconds(uptime());
  } catch {
    return seconds(uptime());
  }
}

/** The first number of /proc/uptime ("423.51 753.67"); undefined for anything else. */
export function parseUptime(text: string): SteadyTime | undefined {
  const [, up] = /^(\d+\.\d+)(?:\s|$)/.exec(text) ?? [];
  return up === undefined ? undefined : seconds(Number(up));
}

export const steadyNow = (): SteadyTime => processStart + performance.now();

export const wallNow = (): WallTime => wallFrom(Date.now());

/** From milliseconds since the epoch: what was stored, or came over the wire. */
export const wallFrom = (epoch: number): WallTime => epoch as unknown as WallTime;

/** Milliseconds since the epoch: to store it, or to send it. */
export const epochOf = (time: WallTime): number => time as unknown as number;

export const isoOf = (time: WallTime): string => new Date(epochOf(time)).toISOString();

/** What the wall clock, as it is set now, showed at that moment. */
export const wallOf = (time: SteadyTime): WallTime => wallFrom(Date.now() - (steadyNow() - time));

/** Only for moments that no steady clock of this boot has seen: of another machine, of a file, of an earlier boot. */
export const steadyOf = (time: WallTime): SteadyTime => steadyNow() - (Date.now() - epochOf(time));
