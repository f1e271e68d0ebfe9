// Slots keep their bound, let those in who came first, and lose no place when somebody stops waiting.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { createSlots } from "../../../src/lib/slots.ts";

const forever = new AbortController().signal;
/** Lets everything that is due happen. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("those who wait enter in the order they came", async () => {
  const slots = createSlots(1);
  const leave = await slots.take(forever);
  const entered: string[] = [];
  for (const name of ["first", "second", "third"]) {
    void slots.take(forever).then((leaveToo) => {
      entered.push(name);
      leaveToo?.();
    });
  }
  expect(slots.waiting()).toBe(3);
  leave?.();
  await settle();
  expect(entered).toEqual(["first", "second", "third"]);
  expect(slots.inUse()).toBe(0);
});

test("a caller that stops waiting gets no slot and blocks no other", async () => {
  const slots = createSlots(1);
  const leave = await slots.take(forever);
  const impatient = new AbortController();
  const given = slots.take(impatient.signal);
  const next = slots.take(forever);
  impatient.abort();
  expect(await given).toBeUndefined();
  leave?.();
  expect(await next).toBeFunction();
  expect(slots.inUse()).toBe(1);
});

test("who comes with an aborted signal is not let in, even when there is room", async () => {
  const slots = createSlots(1);
  expect(await slots.take(AbortSignal.abort())).toBeUndefined();
  expect(slots.inUse()).toBe(0);
});

test("an abort after the slot was taken frees no slot", async () => {
  const slots = createSlots(1);
  const first = await slots.take(forever);
  const controller = new AbortController();
  const second = slots.take(controller.signal);
  first?.();
  await second;
  const third = slots.take(forever);
  controller.abort();
  expect({ inUse: slots.inUse(), waiting: slots.waiting() }).toEqual({ inUse: 1, waiting: 1 });
  (await second)?.();
  expect(await third).toBeFunction();
});

test("a place given back twice is one place", async () => {
  const slots = createSlots(2);
  const leave = await slots.take(forever);
  await slots.take(forever);
  leave?.();
  leave?.();
  expect(slots.inUse()).toBe(1);
});

test("what runs already takes its place beyond the bound, and new ones wait until the bound is kept again", async () => {
  const slots = createSlots(1);
  const leave = [slots.occupy(), slots.occupy(), slots.occupy()];
  expect(slots.inUse()).toBe(3);
  let entered = false;
  const waiting = slots.take(forever).then(() => (entered = true));
  leave[0]?.();
  leave[1]?.();
  await settle();
  expect({ entered, inUse: slots.inUse() }).toEqual({ entered: false, inUse: 1 });
  leave[2]?.();
  await waiting;
  expect(slots.inUse()).toBe(1);
});

test("whatever order of coming, leaving and giving up: never above the bound, never idle while somebody waits", async () => {
  const step = fc.oneof(
    fc.constant({ do: "come" as const }),
    fc.record({ do: fc.constant("leave" as const), who: fc.nat() }),
    fc.record({ do: fc.constant("give up" as const), who: fc.nat() }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 60 }),
      async (size, steps) => {
        const slots = createSlots(size);
        const inside: (() => void)[] = [];
        const waiting: AbortController[] = [];
        for (const action of steps) {
          if (action.do === "come") {
            const patience = new AbortController();
            waiting.push(patience);
            void slots.take(patience.signal).then((leave) => {
              waiting.splice(waiting.indexOf(patience), 1);
              if (leave !== undefined) inside.push(leave);
            });
          } else if (action.do === "leave") inside.splice(action.who % Math.max(1, inside.length), 1)[0]?.();
          else waiting[action.who % Math.max(1, waiting.length)]?.abort();
          await settle();
          expect(slots.inUse()).toBe(inside.length);
          expect(slots.waiting()).toBe(waiting.length);
          expect(inside.length).toBeLessThanOrEqual(size);
          expect(waiting.length === 0 || inside.length === size).toBe(true);
        }
      },
    ),
    { numRuns: 60 },
  );
});
