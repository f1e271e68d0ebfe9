// Each wait for a notifier ends once, by what comes first, and leaves nothing behind.
import { expect, test } from "bun:test";
import { milliseconds, minutes } from "../../../src/lib/duration.ts";
import { Notifier } from "../../../src/lib/notifier.ts";

const never = new AbortController().signal;

test("it wakes all that wait now; a later wait ends at the next time", async () => {
  const notifier = new Notifier();
  const woken: string[] = [];
  const wait = async (name: string): Promise<void> => {
    await notifier.wait(minutes(1), never);
    woken.push(name);
  };
  const all = [wait("a"), wait("b")];
  notifier.notify();
  await Promise.all(all);
  const late = wait("c");
  await Promise.resolve();
  expect(woken).toEqual(["a", "b"]);
  notifier.notify();
  await late;
  expect(woken).toEqual(["a", "b", "c"]);
});

test("the wait ends with its limit, with its signal, and at once when that has aborted", async () => {
  const notifier = new Notifier();
  await notifier.wait(milliseconds(1), never);
  const controller = new AbortController();
  const wait = notifier.wait(minutes(1), controller.signal);
  controller.abort();
  await wait;
  await notifier.wait(minutes(1), AbortSignal.abort());
});
