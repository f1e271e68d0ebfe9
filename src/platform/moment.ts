// A time that survives a restart: exact for later processes of this boot, by the wall clock after another
// boot.
import * as v from "valibot";
import { type SteadyTime, epochOf, steadyNow, steadyOf, wallFrom, wallOf } from "../lib/clock.ts";
import { bootId } from "./processes.ts";

export const Moment = v.object({
  boot: v.string(),
  /** Milliseconds since the boot. */
  steady: v.number(),
  /** The same time in milliseconds since the epoch. */
  wall: v.number(),
});
export type Moment = v.InferOutput<typeof Moment>;

export const momentOf = (time: SteadyTime): Moment => ({
  boot: bootId(),
  steady: time,
  wall: epochOf(wallOf(time)),
});

export const momentNow = (): Moment => momentOf(steadyNow());

/** Converts to the steady clock of this boot. Negative for times before it. */
export const steadyOfMoment = ({ boot, steady, wall }: Moment): SteadyTime =>
  boot === bootId() ? steady : steadyOf(wallFrom(wall));
