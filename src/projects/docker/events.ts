// Turns Docker's events into hints that a project changed: which events are requested, and which project they belong to. Pure.
import { EventLine, parseAnswer } from "./answers.ts";
import type { EngineEvent } from "../plan/engine.ts";
import { PROJECT_LABEL, networkName } from "../plan/names.ts";

/**
 * The filter of the event stream. It does not filter by our label: events of networks and volumes carry no labels. It
 * filters by name, because each health check alone makes three events.
 */
export const EVENT_FILTERS = {
  type: ["container", "network", "volume"],
  event: "start die stop pause unpause destroy rename oom health_status connect disconnect remove".split(" "),
};

/**
 * Keeps in `ended` the ids of containers whose end was reported by an event, without a start since. Docker's list may
 * show them as running for seconds more: it is updated after the event.
 */
export function trackEnd(line: unknown, ended: Set<string>): void {
  const { Type, Action, Actor } = parseAnswer(EventLine, line);
  if (Type !== "container") return;
  if (Action === "die") ended.add(Actor.ID);
  if (Action === "start" || Action === "destroy") ended.delete(Actor.ID);
}

/**
 * Returns undefined for an event that belongs to no project. `ownerOfVolume` returns the project of a volume as of the last
 * snapshot.
 */
export function readEvent(
  line: unknown,
  ownerOfVolume: (name: string) => string | undefined,
): EngineEvent | undefined {
  const { Type, Action, Actor } = parseAnswer(EventLine, line);
  const project = ((): string | undefined => {
    switch (Type) {
      case "container":
        return Actor.Attributes[PROJECT_LABEL];
      case "network": {
        const prefix = networkName("");
        const name = Actor.Attributes["name"] ?? "";
        return name.startsWith(prefix) ? name.slice(prefix.length) : undefined;
      }
      case "volume":
        return ownerOfVolume(Actor.ID);
      default:
        return undefined;
    }
  })();
  return project === undefined || project === "" ? undefined : { project, action: `${Type} ${Action}` };
}
