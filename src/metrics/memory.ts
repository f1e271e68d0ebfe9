// Measures memory in use: the total less what the kernel could give to a new program.
import { KIB } from "../lib/size.ts";
import { parseCount } from "./machine.ts";

/** In bytes. */
export interface Memory {
  readonly total: number;
  readonly available: number;
  readonly swapTotal: number;
  readonly swapFree: number;
}

/** Reads `/proc/meminfo`; undefined without the total. */
export function parseMeminfo(text: string): Memory | undefined {
  const fields = new Map<string, number>();
  for (const [, key = "", count] of text.matchAll(/^([^:\n]+): +(\d+)(?: kB)?$/gm))
    fields.set(key, (parseCount(count) ?? 0) * KIB);
  const field = (key: string): number => fields.get(key) ?? 0;
  const total = field("MemTotal");
  if (total === 0) return undefined;
  // MemAvailable exists since Linux 3.14. Before, `free` used this sum: shared memory is cached, not free.
  const guess =
    field("MemFree") + field("Buffers") + field("Cached") + field("SReclaimable") - field("Shmem");
  const available = fields.get("MemAvailable") ?? guess;
  return {
    total,
    available: Math.min(total, Math.max(0, available)),
    swapTotal: field("SwapTotal"),
    swapFree: Math.min(field("SwapTotal"), field("SwapFree")),
  };
}
