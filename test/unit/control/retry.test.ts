// Which failures pass with time, and how long to wait when the server has an opinion.
import { expect, test } from "bun:test";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { hours, minutes, seconds } from "../../../src/lib/duration.ts";
import { mayPass, pauseAfter, retry } from "../../../src/control/retry.ts";
import { CLAIM_LEASE } from "../../../src/protocol/noderax/limits.ts";

test.each([
  [400, false],
  [401, true],
  [403, true],
  [404, false],
  [408, true],
  [409, false],
  [410, false],
  [413, false],
  [422, false],
  [425, true],
  [429, true],
  [500, true],
  [502, true],
  [503, true],
  [504, true],
])("a %d may pass: %p", (status, passes) => {
  expect(mayPass(new AgentError("http.status", "", { status }))).toBe(passes);
});

test.each([
  ["net.refused", true],
  ["net.unresolved", true],
  ["net.reset", true],
  ["net.timeout", true],
  ["tls.untrusted", true],
  ["tls.expired", true],
  ["http.answer", true],
  ["http.foreign", true],
  ["aborted", false],
  ["config.ca_file", false],
] as const)("%s may pass: %p", (code, passes) => {
  expect(mayPass(new AgentError(code, ""))).toBe(passes);
});

test("a redirect may pass, as a captive portal's does, and an error of our own making does not", () => {
  expect(mayPass(new AgentError("http.redirect", "", { status: 302 }))).toBe(true);
  expect(mayPass(new TypeError("a bug"))).toBe(false);
});

test("the pause is the longer of ours and Retry-After, which counts up to ten minutes", () => {
  const asking = (retryAfter: number): AgentError =>
    new AgentError("http.status", "", { status: 429, retryAfter });
  expect(pauseAfter(asking(seconds(30)), seconds(2))).toBe(seconds(30));
  expect(pauseAfter(asking(0), seconds(2))).toBe(seconds(2));
  expect(pauseAfter(asking(hours(24)), seconds(2))).toBe(minutes(10));
  expect(pauseAfter(new Error("x"), seconds(2))).toBe(seconds(2));
});

test("the gate is given up before the lease of the task is over", () => {
  expect(retry.started.within).toBeLessThan(CLAIM_LEASE);
});

test("what must be delivered and what keeps a node alive is never given up", () => {
  expect([retry.outbox.within, retry.claim.within, retry.heartbeat.within]).toEqual([
    Infinity,
    Infinity,
    Infinity,
  ]);
});
