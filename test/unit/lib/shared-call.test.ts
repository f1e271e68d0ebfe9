// Many callers and one call at a time: who shares what, and that nobody gets what was begun before.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { sharedCall } from "../../../src/lib/shared-call.ts";
import { turn } from "../../support/until.ts";

function slow() {
  const ends: (() => void)[] = [];
  let begun = 0;
  let atOnce = 0;
  let most = 0;
  const ask = sharedCall(async () => {
    const number = ++begun;
    most = Math.max(most, ++atOnce);
    await new Promise<void>((resolve) => ends.push(resolve));
    atOnce--;
    if (number % 3 === 0) throw new Error(`call ${number}`);
    return number;
  });
  return { ask, ends, begun: () => begun, most: () => most };
}

test("a caller alone gets its own call; those who come meanwhile share the next", async () => {
  const { ask, ends, begun } = slow();
  const first = ask();
  const others = [ask(), ask(), ask()];
  ends.shift()?.();
  expect(await first).toBe(1);
  await turn();
  expect(begun()).toBe(2);
  ends.shift()?.();
  expect(await Promise.all(others)).toEqual([2, 2, 2]);
  await turn();
  const last = ask();
  expect(begun()).toBe(3);
  ends.shift()?.();
  expect(await last.catch(String)).toBe("Error: call 3");
});

test("one who asks again the moment its call ends shares what the others wait for", async () => {
  const { ask, ends, begun, most } = slow();
  const again = ask().then(() => ask());
  const other = ask();
  ends.shift()?.();
  await turn();
  expect([begun(), most()]).toEqual([2, 1]);
  ends.shift()?.();
  expect(await Promise.all([again, other])).toEqual([2, 2]);
});

test("whatever the order, one runs at a time, and every result was begun after its caller asked", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom("ask", "end", "pause"), { maxLength: 30 }), async (steps) => {
      const { ask, ends, begun, most } = slow();
      const asked: Promise<void>[] = [];
      for (const step of steps) {
        if (step === "ask") {
          const before = begun();
          const check = (number: number): void => expect(number).toBeGreaterThan(before);
          const failed = (error: Error): void => check(Number(error.message.slice(5)));
          asked.push(ask().then(check, failed));
        } else if (step === "end") ends.shift()?.();
        else await turn();
      }
      const all = Promise.all(asked).then(() => "done");
      for (let n = 0; n <= steps.length; n++) {
        ends.shift()?.();
        await turn();
      }
      expect(await all).toBe("done");
      expect(most()).toBeLessThanOrEqual(1);
    }),
  );
});
