// Docker's events as hints to look at a project: which are asked for, and whose they are. Pure.
import { EventLine, parseAnswer } from "./answers.ts";
import type { EngineEvent } from "../plan/engine.ts";
import { PROJECT_LABEL, networkName } from "../plan/names.ts";

/**
 * Not filtered by our label: events of networks and volumes carry none. Filtered by name instead, since health checks
 * alone make three events each time.
 */
export const EVENT_FILTERS = {
  type: ["container", "network", "volume"],
  event: "start die stop pause unpause destroy rename oom health_status connect disconnect remove".split(" "),
};

/**
 * Keeps in `ended` the containers that Docker has told the end of, and no start since. Its list may show them as running
 * for seconds more: that is written behind the event.
 */
export function noteEnd(line: unknown, ended: Set<string>): void {
  const { Type, Action, Actor } = parseAnswer(EventLine, line);
  if (Type !== "container") return;
  if (Action === "die") ended.add(Actor.ID);
  if (Action === "start" || Action === "destroy") ended.delete(Actor.ID);
}

/** Undefined for what is not ours. `ownerOfVolume` knows whose volumes were seen last. */
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
