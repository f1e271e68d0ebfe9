// What the server derives from a node's capacity and allocatable: is its disk or its memory about to run out? Pure.
import { DISK_PRESSURE_BELOW, MEMORY_PRESSURE_BELOW } from "../../protocol/caravanserai/limits.ts";
import { parseQuantity } from "./quantity.ts";
import { type ConditionDocument, withCondition } from "./resources.ts";

const WATCHED = [
  { type: "DiskPressure", resource: "disk", below: DISK_PRESSURE_BELOW },
  { type: "MemoryPressure", resource: "memory", below: MEMORY_PRESSURE_BELOW },
] as const;

type Quantities = Readonly<Record<string, string>> | null;

/** The conditions, told anew. Of a resource that the node says nothing sensible about, there is none. */
export function pressures(
  conditions: readonly ConditionDocument[],
  capacity: Quantities,
  allocatable: Quantities,
  now: string,
): ConditionDocument[] {
  let told = [...conditions];
  for (const { type, resource, below } of WATCHED) {
    const all = parseQuantity(capacity?.[resource] ?? "") ?? 0;
    const left = parseQuantity(allocatable?.[resource] ?? "");
    if (left === undefined || all <= 0) {
      told = told.filter((condition) => condition.type !== type);
      continue;
    }
    const share = left / all;
    const message = `${Math.round(share * 1_000) / 10} % of the ${resource} is allocatable`;
    const pressed = share < below;
    const reason = pressed ? "AllocatableLow" : "AllocatableSufficient";
    told = withCondition(told, { type, status: pressed ? "True" : "False", reason, message }, now);
  }
  return told;
}
