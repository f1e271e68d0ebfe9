// Since when each container has been seen as it is now, by our own steady clock. Pure.
//
// Docker's own times are not compared with ours: its clock may differ, or be set while a container runs or is stopped,
// and a container whose end lies in the future of our clock would never be started again.
import type { ContainerState } from "../plan/observed.ts";

export interface Sighting {
  readonly state: ContainerState;
  /** Docker's word for the end that was seen, to tell a second end from the first; empty while it runs. */
  readonly finishedAt: string;
  /** When a look showed it like this for the first time, of the steady clock. */
  readonly since: number;
}

/** By id of the container. */
export type Sightings = ReadonlyMap<string, Sighting>;

/** The sighting before, while the container is as it was then; a new one that begins at `at` otherwise. */
export function sight(
  before: Sighting | undefined,
  { state, finishedAt }: Pick<Sighting, "state" | "finishedAt">,
  at: number,
): Sighting {
  return before?.state === state && before.finishedAt === finishedAt
    ? before
    : { state, finishedAt, since: at };
}
