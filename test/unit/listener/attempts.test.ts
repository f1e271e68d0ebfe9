// Refused tries: who must wait for how long, and how much of it is logged.
import { expect, test } from "bun:test";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import { type Attempts, createAttempts } from "../../../src/listener/attempts.ts";

function counting() {
  const lines: string[] = [];
  const clock = { now: 0 };
  const attempts: Attempts = createAttempts({
    now: () => clock.now,
    audit: (text, { address, tries }) => lines.push(`${address} ${tries} ${text}`),
  });
  const refuse = (times: number, address = "10.0.0.1", why = "address"): void => {
    for (let n = 0; n < times; n++) attempts.refused(address, why);
  };
  return { attempts, refuse, lines, clock };
}

test("after ten within a minute an address must wait until the minute is over", () => {
  const { attempts, refuse, clock } = counting();
  refuse(9);
  clock.now = seconds(20);
  expect(attempts.blocked("10.0.0.1")).toBe(0);
  refuse(1);
  expect(attempts.blocked("10.0.0.1")).toBe(seconds(40));
  expect(attempts.blocked("10.0.0.2")).toBe(0);
  clock.now = minutes(1);
  expect(attempts.blocked("10.0.0.1")).toBe(0);
});

test("an IPv6 network of 64 bits is one address, the next one another", () => {
  const { attempts, refuse } = counting();
  for (let n = 0; n < 10; n++) refuse(1, `2001:db8::${n}:1`);
  expect(attempts.blocked("2001:db8::ffff:1")).toBeGreaterThan(0);
  expect(attempts.blocked("2001:db8:0:1::1")).toBe(0);
  refuse(10, "::ffff:10.0.0.9");
  expect(attempts.blocked("10.0.0.9")).toBeGreaterThan(0);
});

test("only wrong tokens keep a right one waiting: a page must not lock out who reads it", () => {
  const { attempts, refuse } = counting();
  refuse(50, "127.0.0.1", "origin");
  expect(attempts.blocked("127.0.0.1", "guesses")).toBe(0);
  refuse(10, "127.0.0.1", "token");
  expect(attempts.blocked("127.0.0.1", "guesses")).toBeGreaterThan(0);
});

test("the log has the first try at once, and the rest of its minute as a number", () => {
  const { attempts, refuse, lines, clock } = counting();
  refuse(7);
  expect(lines).toEqual(["10.0.0.1 1 refused: address"]);
  attempts.sweep();
  expect(lines).toHaveLength(1);
  clock.now = minutes(1);
  attempts.sweep();
  attempts.sweep();
  expect(lines.slice(1)).toEqual(["10.0.0.1 6 refused again within a minute"]);
  expect(attempts.count()).toBe(7);
});

test("many addresses cost neither memory nor a log without end", () => {
  const { attempts, refuse, lines } = counting();
  for (let n = 0; n < 20_000; n++) refuse(2, `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`);
  expect(lines.length).toBeLessThan(100);
  expect(attempts.count()).toBe(40_000);
  // Who came first is forgotten, who came last is not.
  refuse(9, "10.0.78.31");
  expect(attempts.blocked("10.0.78.31")).toBeGreaterThan(0);
  refuse(9, "10.0.0.0");
  expect(attempts.blocked("10.0.0.0")).toBe(0);
});
