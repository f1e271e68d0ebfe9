// Orphans: nothing is removed but on the server's word, given twice and once more when the grace is over.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { type Answer, UNKNOWN, decideOrphan } from "../../src/projects/plan/orphans.ts";

const POLICY = { poll: 3_000, grace: 60_000 };
const answer = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Answer>({ is: "gone" }) },
  {
    weight: 3,
    arbitrary: fc.constant<Answer>({ is: "elsewhere", node: "b" }),
  },
  { weight: 2, arbitrary: fc.constant<Answer>({ is: "silent" }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Answer>({ is: "forgotten" }, { is: "unplaced" }, { is: "rest" }),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom("Scheduled", "Running", "Failed", "Pending")
      .map((phase): Answer => ({ is: "ours", phase })),
  },
);
const course = fc.array(fc.record({ answer, after: fc.integer({ min: 0, max: 40_000 }) }), { maxLength: 40 });

const isNotOurs = ({ is }: Answer): boolean => is === "gone" || is === "elsewhere";

test("a removal follows on a positive answer only, with another one at least a poll and the grace before it", () => {
  fc.assert(
    fc.property(course, (steps) => {
      let suspect = UNKNOWN;
      let now = 1_000_000;
      /** The positive answers since the last that says it is ours. */
      let positive: number[] = [];
      for (const { answer, after } of steps) {
        now += after;
        suspect = decideOrphan(suspect, answer, now, POLICY);
        if (isNotOurs(answer)) positive.push(now);
        else if (answer.is !== "silent") positive = [];
        if (suspect.decision !== "remove") continue;
        expect(isNotOurs(answer)).toBe(true);
        const [first = Infinity] = positive;
        const second = positive.find((at) => at - first >= POLICY.poll) ?? Infinity;
        expect(now - second).toBeGreaterThanOrEqual(POLICY.grace);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("silence alone never removes anything, however long it lasts and whatever was known before", () => {
  fc.assert(
    fc.property(
      course,
      fc.array(fc.integer({ min: 0, max: 10_000_000 }), { maxLength: 20 }),
      (steps, silences) => {
        let suspect = UNKNOWN;
        let now = 0;
        for (const { answer, after } of steps)
          suspect = decideOrphan(suspect, answer, (now += after), POLICY);
        for (const after of silences) {
          suspect = decideOrphan(suspect, { is: "silent" }, (now += after), POLICY);
          expect(suspect.decision).not.toBe("remove");
        }
      },
    ),
    { numRuns: 1_000 },
  );
});

test("what stays away is removed in the end: the grace after the second answer", () => {
  let suspect = UNKNOWN;
  let now = 0;
  for (; suspect.decision !== "remove" && now < 200_000; now += POLICY.poll)
    suspect = decideOrphan(suspect, { is: "gone" }, now, POLICY);
  expect(now - POLICY.poll).toBe(POLICY.poll + POLICY.grace);
});

test("one that failed and is ours is kept, one that was terminated is not", () => {
  expect(decideOrphan(UNKNOWN, { is: "ours", phase: "Failed" }, 0, POLICY).decision).toBe("kept");
  expect(decideOrphan(UNKNOWN, { is: "ours", phase: "Terminated" }, 0, POLICY).decision).toBe("terminated");
});
