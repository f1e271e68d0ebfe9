// The steps that change a project on Docker: tagged records that the planner makes and `apply.ts` carries out.
import type { DesiredService } from "./desired.ts";
import type { Role } from "./names.ts";

export type Step =
  | { readonly do: "createNetwork"; readonly name: string }
  | { readonly do: "createVolume"; readonly name: string }
  | { readonly do: "pull"; readonly image: string }
  | { readonly do: "createContainer"; readonly service: DesiredService; readonly role: "current" | "next" }
  /** `again`: it had ended by itself, and the start counts as a restart. */
  | { readonly do: "startContainer"; readonly id: string; readonly service: string; readonly again: boolean }
  | { readonly do: "stopContainer"; readonly id: string; readonly service: string }
  | { readonly do: "unpauseContainer"; readonly id: string; readonly service: string }
  | { readonly do: "renameContainer"; readonly id: string; readonly service: string; readonly to: Role }
  /** `failed`: it should replace another one and did not start; its fingerprint is not tried again. */
  | {
      readonly do: "removeContainer";
      readonly id: string;
      readonly service: string;
      readonly failed?: { readonly fingerprint: string; readonly message: string };
    }
  | { readonly do: "connectNetwork"; readonly id: string; readonly service: string; readonly network: string }
  | { readonly do: "removeNetwork"; readonly id: string }
  | { readonly do: "removeVolume"; readonly name: string };

/** The service that a step is about; "" for the project as a whole. */
export function subjectOf(step: Step): string {
  if (!("service" in step)) return "";
  return typeof step.service === "string" ? step.service : step.service.name;
}
