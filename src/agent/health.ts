// Decides from an agent's status whether it works: after an installation, a restart and an update this is waited for.
import type { Plane } from "../config/option.ts";
import type { Status } from "./status.ts";

/** What is still missing, in words; undefined when every one of these planes has heard of the agent. Pure. */
export function missingForHealth(status: Status, planes: readonly Plane[]): string | undefined {
  if (planes.includes("noderax") && status.noderax?.standing !== "ok") {
    const standing = status.noderax?.standing;
    if (standing === "not_enrolled") return "this machine is not enrolled";
    return `the control plane has not accepted the node yet${reason(status, "noderax", "heartbeat")}`;
  }
  const loop = loopOf(status, "caravanserai", "node");
  if (planes.includes("caravanserai") && (loop?.last_success ?? null) === null)
    return `the Caravanserai server has not heard of the node yet${reason(status, "caravanserai", "node")}`;
  return undefined;
}

type LoopStatus = Status["loops"][number];

const loopOf = ({ loops }: Status, plane: string, name: string): LoopStatus | undefined =>
  loops.find((loop) => loop.plane === plane && loop.name === name);

function reason(status: Status, plane: string, name: string): string {
  const error = loopOf(status, plane, name)?.last_error;
  return error ? `: ${error.message}` : "";
}
