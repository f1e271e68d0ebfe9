// Decides when to claim, by the tasks that the server announces over the realtime session (`task.dispatch`).
//
//   polling ──── a long poll brings a task that was announced while the poll was open ────▶ listening
//      ▲                                                                                        │
//      └── the session ended, or a claim brought a task although none was announced ◀───────────┘
//
// polling    a long poll is open all the time. The server looks for tasks every 500 ms, and an announcement cannot make it
//            faster: a second claim may receive the same task, and an abandoned one may take a task that nobody receives.
// listening  no claim is open. Each announcement is followed at once by a claim that does not wait, and so is each poll
//            interval without one: an announcement may be lost.
import * as v from "valibot";
import type { Duration } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import { TaskDispatch } from "../protocol/noderax/tasks.ts";

/** Most announced tasks that are remembered; the server repeats 50 at most with every ping. */
const ANNOUNCED_MAX = 256;

export class Announcements {
  #listening = false;
  /** There is a reason to claim now. */
  #due = true;
  /** Announced tasks that were not claimed yet. */
  readonly #announced = new Set<string>();
  #next = new AbortController();

  /** True: claims must not wait on the server. */
  get listening(): boolean {
    return this.#listening;
  }

  /** Takes the body of a `task.dispatch`. What it says of the task is not used: a task is run only once it is claimed. */
  received(body: unknown): void {
    const parsed = v.safeParse(TaskDispatch, body);
    if (!parsed.success) return;
    if (this.#announced.size >= ANNOUNCED_MAX) this.#announced.clear();
    this.#announced.add(parsed.output.task.id);
    this.#claimNow();
  }

  sessionEnded(): void {
    this.#announced.clear();
    if (!this.#listening) return;
    this.#listening = false;
    this.#claimNow();
  }

  /** Resolves when it is time to claim: at once while polling, after `interval` at the latest. Never rejects. */
  async untilDue(interval: Duration, signal: AbortSignal): Promise<void> {
    if (this.#listening && !this.#due) await sleep(interval, this.#next.signal, signal);
  }

  /** Call before a claim leaves. Returns whether there was a reason for it other than the time that has passed. */
  claims(): boolean {
    const due = this.#due;
    this.#due = false;
    return due;
  }

  /** Call with the answer to a claim, and with what `claims` returned for it. `id` is undefined for an empty answer. */
  answered(id: string | undefined, due: boolean): void {
    if (id === undefined) {
      // What was announced before this claim left has been cancelled, or was claimed before.
      if (!this.#due) this.#announced.clear();
      return;
    }
    const announced = this.#announced.delete(id.toLowerCase());
    this.#listening = this.#listening ? due || announced : announced;
    // There may be more; the server announces no more than 50 of them.
    this.#due = true;
  }

  #claimNow(): void {
    this.#due = true;
    const now = this.#next;
    this.#next = new AbortController();
    now.abort();
  }
}
