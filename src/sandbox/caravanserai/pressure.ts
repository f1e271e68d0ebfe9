// Derives a node's conditions from its capacity and allocatable: disk and memory pressure. Pure.
import { DISK_PRESSURE_BELOW, MEMORY_PRESSURE_BELOW } from "../../protocol/caravanserai/limits.ts";
import { parseQuantity } from "./quantity.ts";
import { type ConditionDocument, withCondition } from "./resources.ts";

const WATCHED = [
  { type: "DiskPressure", resource: "disk", below: DISK_PRESSURE_BELOW },
  { type: "MemoryPressure", resource: "memory", below: MEMORY_PRESSURE_BELOW },
] as const;

type Quantities = Readonly<Record<string, string>> | null;

/** Returns the updated conditions; none for a resource whose amounts are missing or invalid. */
export function pressures(
  conditions: readonly ConditionDocument[],
  capacity: Quantities,
  allocatable: Quantities,
  now: string,
): ConditionDocument[] {
  let updated = [...conditions];
  for (const { type, resource, below } of WATCHED) {
    const all = parseQuantity(capacity?.[resource] ?? "") ?? 0;
    const left = parseQuantity(allocatable?.[resource] ?? "");
    if (left === undefined || all <= 0) {
      updated = updated.filter((condition) => condition.type !== type);
      continue;
    }
    const share = left / all;
    const message = `${Math.round(share * 1_000) / 10} % of the ${resource} is allocatable`;
    const pressed = share < below;
    const reason = pressed ? "AllocatableLow" : "AllocatableSufficient";
    updated = withCondition(updated, { type, status: pressed ? "True" : "False", reason, message }, now);
  }
  return updated;
}
