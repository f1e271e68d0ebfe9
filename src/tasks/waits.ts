// Makes a task wait for what it may not share: its turn where only one of its name runs at a time, then a slot.
import { abortScope } from "../lib/abort-scope.ts";
import { steadyNow } from "../lib/clock.ts";
import { humanDuration } from "../lib/duration.ts";
import { shortId } from "../lib/text.ts";
import type { DriveContext, DrivePorts } from "./context.ts";
import type { TaskOutcome, TaskRecord } from "./journal.ts";
import type { InnerWork, RunCommand } from "./kinds/kind.ts";
import { unrun } from "./report.ts";
import { serverLimit } from "./time-limit.ts";

type Take = (signal: AbortSignal) => Promise<(() => void) | undefined>;
type Waited = (() => void) | TaskOutcome | undefined;

/**
 * Resolves with the function that frees turn and slot, with an outcome when the wait was ended, or with undefined when
 * `signal` aborted.
 */
export async function waitForRoom(
  task: TaskRecord,
  prepared: RunCommand | InnerWork,
  ports: DrivePorts,
  context: DriveContext,
  signal: AbortSignal,
): Promise<Waited> {
  const { turns } = ports;
  const slots = prepared.do === "run" ? ports.slots : ports.workSlots;
  const wait = (take: Take, unit: string, because: string | undefined): Promise<Waited> =>
    waitFor({ take, unit, because }, task, ports, context, signal);
  const { exclusive } = prepared;
  let leaveTurn = (): void => undefined;
  if (exclusive !== undefined) {
    const holder = turns.holder(exclusive);
    const because = holder && `task ${shortId(holder)} runs, and ${exclusive} take one at a time`;
    const turn = await wait((over) => turns.take(exclusive, task.id, over), "its turn", because);
    if (typeof turn !== "function") return turn;
    leaveTurn = turn;
  }
  const because =
    slots.inUse() < slots.size ? undefined : `${slots.size} tasks run already (max_parallel_tasks)`;
  const slot = await wait((over) => slots.take(over), "a free slot", because);
  if (typeof slot !== "function") {
    leaveTurn();
    return slot;
  }
  return () => {
    slot();
    leaveTurn();
  };
}

interface WaitedFor {
  readonly take: Take;
  /** What is waited for, in words, and why; undefined when it is free. */
  readonly unit: string;
  readonly because: string | undefined;
}

async function waitFor(
  { take, unit, because }: WaitedFor,
  task: TaskRecord,
  { settings }: DrivePorts,
  { stop, shipper, say }: DriveContext,
  signal: AbortSignal,
): Promise<Waited> {
  const limit = serverLimit(task, settings.task_kill_grace) - steadyNow();
  if (because !== undefined) {
    const text = `waiting for ${unit}: ${because}`;
    shipper.note(text, steadyNow());
    say(text);
  }
  using waiting = abortScope([signal, stop.signal], Math.max(0, limit));
  const leave = await take(waiting.signal);
  if (leave !== undefined) return leave;
  if (signal.aborted) return undefined;
  const reason = stop.current();
  if (reason === undefined)
    return unrun("timeout", `waited ${humanDuration(limit)} for ${unit}: ${because ?? "in vain"}`);
  return unrun(STATUS[reason.reason], reason.text);
}

const STATUS = { cancel: "cancelled", timeout: "timeout", server: "failed" } as const;
