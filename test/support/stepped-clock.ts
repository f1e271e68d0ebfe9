// Preloaded into an agent's process: its wall clock is off by the milliseconds in the file CLOCK_OFFSET, from then on.
import { readFileSync } from "node:fs";

const file = process.env["CLOCK_OFFSET"] ?? "";
const RealDate = Date;

function offset(): number {
  try {
    return Number(readFileSync(file, "utf8"));
  } catch {
    return 0;
  }
}

class SteppedDate extends RealDate {
  constructor(...values: [] | [number | string]) {
    super(values[0] ?? SteppedDate.now());
  }

  static override now(): number {
    return RealDate.now() + offset();
  }
}
globalThis.Date = SteppedDate as DateConstructor;
// Read once, as the runtime does when a process starts.
Object.defineProperty(performance, "timeOrigin", { value: performance.timeOrigin + offset() });
