// A moment that is stored: later processes of this boot know it exactly, those of a later boot by the wall clock alone.
import * as v from "valibot";
import { type SteadyTime, epochOf, steadyNow, steadyOf, wallFrom, wallOf } from "../lib/clock.ts";
import { bootId } from "./processes.ts";

export const Moment = v.object({
  boot: v.string(),
  /** Milliseconds since that boot. */
  steady: v.number(),
  /** The same moment in milliseconds since the epoch. */
  wall: v.number(),
});
export type Moment = v.InferOutput<typeof Moment>;

export const momentOf = (time: SteadyTime): Moment => ({
  boot: bootId(),
  steady: time,
  wall: epochOf(wallOf(time)),
});

export const momentNow = (): Moment => momentOf(steadyNow());

/** The same moment on the steady clock of this boot; it may be negative. */
export const steadyOfMoment = ({ boot, steady, wall }: Moment): SteadyTime =>
  boot === bootId() ? steady : steadyOf(wallFrom(wall));
