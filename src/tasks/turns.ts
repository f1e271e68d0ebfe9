// Lets tasks of one name run one at a time, and tells a waiting task which one it waits for.
import { type Slots, createSlots } from "../lib/slots.ts";

export interface Turns {
  /** Takes the turn of a task that already runs, also when another one has it. Returns the function that frees it. */
  occupy(name: string, taskId: string): () => void;
  /** Resolves with the function that frees the turn, or with undefined when `signal` aborted first. */
  take(name: string, taskId: string, signal: AbortSignal): Promise<(() => void) | undefined>;
  /** Returns the task whose turn it is; undefined when the turn is free. */
  holder(name: string): string | undefined;
}

/** Creates turns of which all are free. Those who wait get their turn in their order. */
export function createTurns(): Turns {
  const queues = new Map<string, { readonly slots: Slots; readonly holders: Set<string> }>();
  const queueOf = (name: string): { slots: Slots; holders: Set<string> } => {
    const queue = queues.get(name) ?? { slots: createSlots(1), holders: new Set() };
    queues.set(name, queue);
    return queue;
  };
  const hold = (holders: Set<string>, taskId: string, leave: () => void): (() => void) => {
    holders.add(taskId);
    return () => {
      holders.delete(taskId);
      leave();
    };
  };
  return {
    occupy(name, taskId) {
      const { slots, holders } = queueOf(name);
      return hold(holders, taskId, slots.occupy());
    },
    async take(name, taskId, signal) {
      const { slots, holders } = queueOf(name);
      const leave = await slots.take(signal);
      return leave && hold(holders, taskId, leave);
    },
    holder: (name) => queues.get(name)?.holders.values().next().value,
  };
}
