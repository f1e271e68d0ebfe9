// The phases of a terminal session.
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  LAUNCHING,
  type SessionEvent,
  type TerminalSessionState,
  next,
} from "../../../src/terminal/session-phase.ts";

const after = (
  ...events: (SessionEvent | Exclude<SessionEvent["type"], "stopped" | "rejected">)[]
): TerminalSessionState =>
  events.reduce<TerminalSessionState>(
    (state, event) => next(state, typeof event === "string" ? { type: event } : event),
    LAUNCHING,
  );
const stopped = (reason: string): SessionEvent => ({ type: "stopped", reason });

describe("a session", () => {
  test("that ends by itself has no reason", () => {
    const done = after("started", "accepted", "exited", "settled", "delivered", "reported");
    expect(done).toEqual({ phase: "done", reason: undefined, endExpected: true });
  });

  test("that is stopped while its shell is being started never opens", () => {
    expect(after(stopped("enough"), "started", "accepted").phase).toBe("ending");
  });

  test("keeps the first reason to end", () => {
    expect(after("started", stopped("first"), stopped("second")).reason).toBe("first");
  });

  test("whose shell has ended cannot be stopped any more", () => {
    expect(after("started", "exited", stopped("late"))).toMatchObject({
      phase: "draining",
      reason: undefined,
    });
  });

  test("whose shell ends before terminal.opened is acknowledged stays draining", () => {
    expect(after("started", "exited", "accepted").phase).toBe("draining");
  });

  test.each(["started", "exited"] as const)(
    "that is rejected after %s and unknown reports no end",
    (last) => {
      const events = last === "started" ? (["started"] as const) : (["started", "exited"] as const);
      expect(after(...events, { type: "rejected", reason: "", endExpected: false }).endExpected).toBe(false);
    },
  );

  test("without a shell goes straight to its report", () => {
    expect(after("failed").phase).toBe("reporting");
    expect(after(stopped("enough"), "failed").phase).toBe("reporting");
  });
});

test("events in any order never lead back, nor change the reason", () => {
  const order = ["launching", "opening", "open", "ending", "draining", "reporting", "done"];
  const types = ["started", "failed", "accepted", "exited", "settled", "delivered", "reported"] as const;
  const event = fc.oneof(
    fc.constantFrom(...types).map((type): SessionEvent => ({ type })),
    fc.string().map(stopped),
    fc.record({ type: fc.constant("rejected" as const), reason: fc.string(), endExpected: fc.boolean() }),
  );
  fc.assert(
    fc.property(fc.array(event), (events) => {
      let state = LAUNCHING;
      for (const one of events) {
        const following = next(state, one);
        expect(order.indexOf(following.phase)).toBeGreaterThanOrEqual(order.indexOf(state.phase));
        if (state.reason !== undefined) expect(following.reason).toBe(state.reason);
        state = following;
      }
    }),
  );
});
