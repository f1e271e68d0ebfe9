// What `status` says of the service, beside what the agent says of itself; all of it without root.
import { type ServiceState, describeService } from "../install/service.ts";
import { paint, print } from "./ui/output.ts";

/** Prints the line about the service; nothing when it is not installed. */
export function showService(state: ServiceState | undefined): void {
  if (state === undefined) return;
  const text = describeService(state);
  print(`service        ${state.active === "active" ? text : paint.yellow(text)}`);
}

/** For `status --json`. */
export const serviceDocument = (state: ServiceState | undefined): object | null =>
  state === undefined
    ? null
    : {
        active: state.active,
        since: state.since || null,
        enabled: state.isEnabled,
        restarts: state.restarts,
        last_result: state.result || null,
        last_exit_code: state.exitStatus,
      };
