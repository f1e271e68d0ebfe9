// Reads the two clocks of the machine, as two types that cannot be mixed.
//
//   SteadyTime  counts from the boot and never steps: for deadlines, backoffs, ages
//   WallTime    steps when somebody sets the clock: for people, files, the wire
import { readFileSync } from "node:fs";
import { uptime } from "node:os";
import { type Duration, seconds } from "./duration.ts";

declare const wall: unique symbol;
declare const steady: unique symbol;

/**
 * A moment by the wall clock. It has no arithmetic and cannot be compared with a SteadyTime: the clock may
 * have been set between two readings.
 */
export interface WallTime {
  readonly [wall]: never;
}

/**
 * A moment in milliseconds since the boot. Every process of this boot counts alike, to about 10 ms, so it may
 * be stored beside `bootId()`.
 */
export type SteadyTime = number & { readonly [steady]?: never };

/** Milliseconds since the epoch, as they are stored and sent. Cannot be passed where a SteadyTime is expected. */
export type EpochTime = number & { readonly [steady]?: "epoch" };

/** Milliseconds from the boot to the zero of `performance.now()`. */
const processStart = sinceBoot() - performance.now();

function sinceBoot(): Duration {
  try {
    return parseUptime(readFileSync("/proc/uptime", "latin1")) ?? seconds(uptime());
  } catch {
    return seconds(uptime());
  }
}

/** Returns the time since the boot from /proc/uptime ("423.51 753.67"), or undefined for any other text. */
export function parseUptime(text: string): SteadyTime | undefined {
  const [, up] = /^(\d+\.\d+)(?:\s|$)/.exec(text) ?? [];
  return up === undefined ? undefined : seconds(Number(up));
}

export const steadyNow = (): SteadyTime => processStart + performance.now();

export const wallNow = (): WallTime => wallFrom(Date.now());

/** Converts milliseconds since the epoch, as they are stored or received. */
export const wallFrom = (epoch: number): WallTime => epoch as unknown as WallTime;

/** Returns milliseconds since the epoch, to store or to send. */
export const epochOf = (time: WallTime): EpochTime => time as unknown as number;

export const isoOf = (time: WallTime): string => new Date(epochOf(time)).toISOString();

/** Converts by the wall clock as it is set now. */
export const wallOf = (time: SteadyTime): WallTime => wallFrom(Date.now() - (steadyNow() - time));

/**
 * Converts by the wall clock as it is set now. Only for times that have no steady one: of another machine, a
 * file, an earlier boot.
 */
export const steadyOf = (time: WallTime): SteadyTime => steadyNow() - (Date.now() - epochOf(time));
