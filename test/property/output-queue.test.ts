// The queue before stdout and stderr: nothing is lost, doubled or reordered, however slowly somebody reads.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { type WriteReadiness, createOutputQueue } from "../../src/platform/output-queue.ts";

/** Descriptors that take as much as the script says: a number of bytes, or an errno. */
function reader(script: readonly (number | string)[] = []) {
  const steps = [...script];
  const got = new Map<number, number[]>();
  const queue = createOutputQueue({
    readiness: (): WriteReadiness => (steps[0] === 0 ? (steps.shift(), "full") : "ready"),
    write(fd, bytes) {
      const step = steps.shift() ?? bytes.length;
      if (typeof step === "string") throw Object.assign(new Error(step), { code: step });
      const taken = bytes.subarray(0, Math.min(step, bytes.length));
      got.set(fd, [...(got.get(fd) ?? []), ...taken]);
      return taken.length;
    },
    chunkOf: () => 4,
    sleep: () => Promise.resolve(),
  });
  return { queue, got: (fd: number): string => String.fromCharCode(...(got.get(fd) ?? [])) };
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("what a reader takes comes out completely and in order, for any pace of the reader", async () => {
  const chunks = fc.array(
    fc.tuple(fc.constantFrom(1, 2), fc.string({ unit: "grapheme-ascii", maxLength: 20 })),
  );
  const paces = fc.array(fc.oneof(fc.nat(6), fc.constantFrom("EAGAIN", "EINTR")), { maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(chunks, paces, async (written, pace) => {
      const { queue, got } = reader(pace);
      for (const [fd, text] of written) queue.write(fd, bytes(text));
      await queue.settled();
      for (const fd of [1, 2])
        expect(got(fd)).toBe(
          written
            .filter(([to]) => to === fd)
            .map(([, text]) => text)
            .join(""),
        );
    }),
  );
});

test("a chunk that waits is a copy: its buffer may be used again", async () => {
  const { queue, got } = reader([0]);
  const buffer = bytes("first");
  queue.write(1, buffer);
  buffer.fill(0);
  await queue.settled();
  expect(got(1)).toBe("first");
});

test("after a failure nothing more is written there, and the other descriptor goes on", async () => {
  const { queue, got } = reader([2, "ENOSPC"]);
  expect(queue.write(1, bytes("abcd"))).toBeFalse();
  expect(queue.write(1, bytes("more"))).toBeFalse();
  expect(queue.write(2, bytes("why"))).toBeTrue();
  await queue.settled();
  expect([got(1), got(2)]).toEqual(["ab", "why"]);
  expect([queue.failure(1), queue.failure(2)]).toEqual(["ENOSPC", undefined]);
});

test("a failure that comes while bytes wait is known when the queue has settled", async () => {
  const { queue } = reader([0, 0, "EPIPE"]);
  expect(queue.write(1, bytes("abcd"))).toBeTrue();
  expect(queue.failure(1)).toBeUndefined();
  await queue.settled();
  expect(queue.failure(1)).toBe("EPIPE");
});

test("one that keeps going loses what failed and no more, and keeps a bounded number of bytes waiting", async () => {
  const { queue, got } = reader(["EPIPE", 0, 0]);
  queue.keepGoing(6);
  queue.write(1, bytes("lost"));
  expect(queue.write(1, bytes("kept"))).toBeTrue();
  expect(queue.write(1, bytes("too long"))).toBeFalse();
  expect(queue.write(1, bytes("!"))).toBeTrue();
  await queue.settled();
  expect(got(1)).toBe("kept!");
  expect(queue.failure(1)).toBeUndefined();
});
