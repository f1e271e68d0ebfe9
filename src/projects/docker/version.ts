// Negotiates the version of the Docker Engine's API: the newest that both sides know. Pure.
import { AgentError } from "../../lib/agent-error.ts";

/**
 * The calls that we use did not change between these two. Docker 29 refuses versions below 1.44, so nothing newer is
 * needed; 1.25 is the version of Docker 1.13.
 */
const NEWEST = "1.44";
const OLDEST = "1.25";

/** Throws `docker.version` when there is none. `min` is empty for an engine that does not report it. */
export function settleVersion(max: string, min: string): string {
  const settled = compare(max, NEWEST) < 0 ? max : NEWEST;
  if (compare(settled, OLDEST) < 0) {
    throw new AgentError(
      "docker.version",
      `this Docker is too old: it speaks API ${max}, at least ${OLDEST} is needed`,
      {
        hint: "Docker 1.13 or newer is needed.",
      },
    );
  }
  if (min !== "" && compare(settled, min) < 0) {
    throw new AgentError(
      "docker.version",
      `this Docker is too new: it wants API ${min}, the newest known here is ${NEWEST}`,
      {
        hint: "A newer noderax-agent is needed.",
      },
    );
  }
  return settled;
}

function compare(a: string, b: string): number {
  const [majorA = 0, minorA = 0] = a.split(".").map(Number);
  const [majorB = 0, minorB = 0] = b.split(".").map(Number);
  return majorA - majorB || minorA - minorB;
}
