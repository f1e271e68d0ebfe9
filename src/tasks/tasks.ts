// All tasks of this node: starts claimed tasks, resumes those of an earlier process, and lists the active ones.
import { shortId } from "../lib/text.ts";
import { type SteadyTime, isoOf, steadyNow } from "../lib/clock.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { abortScope } from "../lib/abort-scope.ts";
import { messageOf } from "../lib/agent-error.ts";
import { backoff } from "../lib/backoff.ts";
import { sleep } from "../lib/loop.ts";
import { retry } from "../control/retry.ts";
import { momentNow } from "../platform/moment.ts";
import type { Task } from "../protocol/noderax/tasks.ts";
import { taskSender } from "./output/delivery.ts";
import type { DrivePorts } from "./context.ts";
import { drive } from "./drive.ts";
import { createShipper } from "./output/shipping.ts";
import { type StopRequest, createStopRequest, watchControl } from "./run/stop.ts";

/** Claimed tasks held at once; the rest stays in the server's queue. */
const HELD_MAX = 500;
/** Bytes of their payloads in the journal. They are read when the command starts, so that they cost no memory until then. */
const HELD_BYTES = 16_000_000;

export interface TaskSummary {
  readonly id: string;
  readonly type: string;
  readonly note: string;
  readonly age: Duration;
}

export interface Tasks {
  /** Resumes the unfinished tasks of the journal, and starts the delivery of the outbox. */
  resume(): void;
  /** Journals a claimed task and drives it; ignores a task that was started before. */
  accept(task: Task): void;
  /** Why no task may be claimed now, for people; undefined when one may. */
  obstacle(): string | undefined;
  active(): TaskSummary[];
  /** Resolves when every command that has ended is reported, or `signal` aborts. */
  reported(signal: AbortSignal): Promise<void>;
  /** Ends every command and reports nothing: for an agent that will not be started again. */
  endAll(): Promise<void>;
  /** Resolves when all drivers have stopped, after `signal` was aborted. */
  settled(): Promise<void>;
}

interface ActiveTask {
  readonly type: string;
  readonly since: SteadyTime;
  /** Bytes of its payload. */
  readonly size: number;
  readonly stop: StopRequest;
  refused: (why: string) => void;
  note: string;
  /** The command has ended, its report is not delivered yet. */
  ended: boolean;
  done: Promise<void>;
}

/** Drivers and deliveries stop when `signal` aborts; commands go on. */
export function createTasks(ports: DrivePorts, signal: AbortSignal): Tasks {
  const { journal, outbox, api, log } = ports;
  const active = new Map<string, ActiveTask>();
  /** True after `endAll`: a task that a claim still brings is ignored, and its lease expires on the server. */
  let ending = false;

  function start(id: string): void {
    const record = journal.find(id);
    if (record === undefined || active.has(id)) return;
    const over = abortScope([signal]);
    const stop = createStopRequest(record, journal);
    const entry: ActiveTask = {
      type: record.type,
      since: record.claimed,
      size: journal.payloadSize(id),
      stop,
      refused() {},
      note: "",
      ended: false,
      done: Promise.resolve(),
    };
    active.set(id, entry);
    const watching = watchControl(id, stop, { api, tasks: () => active.size }, over.signal);
    entry.done = driveToEnd(id, entry)
      .finally(() => {
        over.abort();
        active.delete(id);
      })
      .then(() => watching);
  }

  /** Starts a driver that failed (for example on a full disk) again, from the phase in the journal. */
  async function driveToEnd(id: string, entry: ActiveTask): Promise<void> {
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        const record = journal.find(id);
        if (record === undefined) return;
        const shipper = createShipper(record, { journal, outbox, serverClock: api.serverClock });
        entry.refused = (why) =>
          shipper.note(`… a part of the log was refused by the control plane: ${why}`, steadyNow());
        const say = (note: string): void => void (entry.note = note);
        const ended = (): void => void (entry.ended = true);
        return await drive(id, ports, { stop: entry.stop, shipper, say, ended }, signal);
      } catch (error) {
        entry.note = `failed, trying again: ${messageOf(error)}`;
        log.error("tasks", `${shortId(id)}: ${messageOf(error)}`, { task_id: id });
        await sleep(backoff(retry.driver, failures, Math.random), signal);
      }
    }
  }

  async function settled(): Promise<void> {
    while (active.size > 0) await Promise.all([...active.values()].map(({ done }) => done));
  }

  /** Reports a task that cannot be journalled as failed. Without an answer it would only fail after its lease. */
  async function refuse(taskId: string, why: string): Promise<void> {
    const timestamp = isoOf(api.serverClock.at(steadyNow()));
    try {
      await api.started({ taskId, timestamp }, signal);
      await api.completed({ taskId, timestamp, status: "failed", error: why, exitCode: null }, signal);
    } catch (error) {
      log.warn("tasks", `${shortId(taskId)} could not be answered: ${messageOf(error)}`, {
        task_id: taskId,
      });
    }
  }

  return {
    resume() {
      const unfinished = journal.unfinished();
      // Those that run take their slots and turns before others wait for them.
      for (const { id, phase } of unfinished) if (phase === "launched") start(id);
      for (const { id, phase } of unfinished) if (phase !== "launched") start(id);
      outbox.start(
        taskSender({
          api,
          log,
          onOver: (id, why) => active.get(id)?.stop.request("server", why),
          onRefusedRow: (id, why) => active.get(id)?.refused(why),
        }),
        signal,
      );
    },
    accept(task) {
      if (ending) return;
      const record = { id: task.id, type: task.type, payload: task.payload ?? {} };
      let known: boolean;
      try {
        known = !journal.claimed(record, momentNow());
      } catch (error) {
        const why = `the node could not write the task down: ${messageOf(error)}`;
        log.error("tasks", `${shortId(task.id)} not run: ${why}`, { task_id: task.id });
        void refuse(task.id, why);
        return;
      }
      if (known)
        log.warn("tasks", `${shortId(task.id)} was handed out again; it is not run twice`, {
          task_id: task.id,
        });
      else start(task.id);
    },
    obstacle() {
      if (ending) return "ending all tasks";
      const held = [...active.values()].reduce((sum, { size }) => sum + size, 0);
      const full = active.size >= HELD_MAX || held >= HELD_BYTES;
      return full ? "holding as many tasks as it can" : ports.disk.shortage();
    },
    active: () =>
      [...active].map(([id, { type, note, since }]) => ({ id, type, note, age: steadyNow() - since })),
    async reported(signal) {
      const owed = (): Promise<void>[] =>
        [...active.values()].filter(({ ended }) => ended).map(({ done }) => done);
      while (owed().length > 0 && !signal.aborted) await Promise.race([...owed(), sleep(seconds(1), signal)]);
    },
    async endAll() {
      ending = true;
      for (const { stop } of active.values()) stop.request("server", "the agent was told to end its tasks");
      await settled();
    },
    settled,
  };
}
