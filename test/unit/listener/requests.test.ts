// What a request means: its route, what it asks of a log, and how well the agent is.
import { describe, expect, test } from "bun:test";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import type { LoopRecord } from "../../../src/lib/loop.ts";
import { readiness } from "../../../src/listener/health.ts";
import { parseLogQuery } from "../../../src/listener/logs-query.ts";
import { endpointOf } from "../../../src/listener/endpoints.ts";

describe("routes", () => {
  const at = (path: string, method = "GET") => endpointOf(method, `http://127.0.0.1:9090${path}`);

  test.each([
    ["/healthz", { to: "healthz" }],
    ["/readyz?verbose", { to: "readyz" }],
    ["/api/v1/forward/shop/web/80", { to: "forward", project: "shop", service: "web", port: "80" }],
    ["/api/v1/forward/shop/web/x", { to: "forward", project: "shop", service: "web", port: "x" }],
    ["/api/v1/forward/a.b-c/W_1/80?x=1", { to: "forward", project: "a.b-c", service: "W_1", port: "80" }],
    ["/api/v1/forward/sh%6Fp/web/80", { to: "forward", project: "shop", service: "web", port: "80" }],
  ] as const)("%s is found", (path, route) => expect(at(path)).toMatchObject(route));

  test("a path alone is one, where the Host header made no address", () =>
    expect(endpointOf("GET", "/healthz")).toEqual({ to: "healthz" }));

  test("the query of a log goes with it", () => {
    const route = at("/api/v1/logs/shop/web?tail=3");
    expect(route.to === "logs" && route.query.get("tail")).toBe("3");
  });

  test.each([
    ["/", 404],
    ["/healthz/", 404],
    ["/healthz%2f", 404],
    ["//healthz", 404],
    ["/api/v1/forward/shop/web", 404],
    ["/api/v1/forward/shop/web/80/", 404],
    ["/api/v1/logs/shop/web/", 404],
    ["/api/v1/other/shop/web", 404],
    ["/api/v1/logs/shop%2Fx/web", 400],
    ["/api/v1/logs/shop/..%2f..", 400],
    ["/api/v1/logs/shop/%00", 400],
    ["/api/v1/logs/shop/%ff", 400],
    ["/api/v1/logs/shop/%", 400],
    ["/api/v1/logs/Shop/web", 400],
    ["/api/v1/logs/shop/-web", 400],
    ["/api/v1/logs//web", 400],
    [`/api/v1/logs/shop/${"a".repeat(300)}`, 400],
    ["/api/v1/logs/shop/web?%", "logs"],
  ])("%s is %p", (path, expected) => {
    const route = at(path);
    expect<string | number>(route.to === "problem" ? route.status : route.to).toBe(expected);
  });

  test("other methods are refused with those that are taken", () => {
    expect(at("/healthz", "POST")).toMatchObject({ status: 405, allow: "GET, HEAD" });
    expect(at("/api/v1/logs/shop/web", "DELETE")).toMatchObject({ status: 405, allow: "GET" });
    expect(endpointOf("CONNECT", "a:1")).toMatchObject({ status: 400 });
  });
});

describe("the query of a log", () => {
  const now = Date.parse("2026-01-31T12:00:00Z");
  const parse = (query: string) => parseLogQuery(new URLSearchParams(query), now);

  test.each([
    ["", { follow: false, tail: "all", timestamps: false }],
    ["follow=&tail=&timestamps=&since=", { follow: false, tail: "all", timestamps: false }],
    ["follow=true&timestamps=1&tail=all", { follow: true, tail: "all", timestamps: true }],
    ["follow=0&tail=0", { follow: false, tail: 0, timestamps: false }],
    ["tail=100&other=1", { follow: false, tail: 100, timestamps: false }],
  ])("%p", (query, expected) => expect(parse(query)).toEqual(expected as never));

  test.each([
    ["10m", now / 1_000 - 600],
    ["1h30m", now / 1_000 - 5_400],
    ["0", 0],
    ["1700000000.25", 1_700_000_000.25],
    ["2026-01-31T11:00:00Z", now / 1_000 - 3_600],
    ["2026-01-31T13:00:00%2B02:00", now / 1_000 - 3_600],
    ["2026-01-31T13:00:00+02:00", now / 1_000 - 3_600],
    ["2026-01-31T11:59:59.500Z", now / 1_000 - 0.5],
    ["1000000h", 0],
  ])("since=%s", (since, expected) => expect(parse(`since=${since}`)).toMatchObject({ since: expected }));

  test.each([
    ["follow=yes", "follow"],
    ["follow=TRUE", "follow"],
    ["follow=__proto__", "follow"],
    ["timestamps=2", "timestamps"],
    ["tail=-1", "tail"],
    ["tail=1e3", "tail"],
    ["tail=10000000000", "tail"],
    ["since=yesterday", "since"],
    ["since=-10m", "since"],
    ["since=2026-01-31", "since"],
    ["since=2026-13-31T11:00:00Z", "since"],
    [`since=${"9".repeat(4_000)}`, "since"],
  ])("%s is refused by its name", (query, name) => {
    const parsed = parse(query);
    if (!("problem" in parsed)) throw new Error("was taken");
    expect(parsed.problem).toStartWith(`${name}: `);
    expect(parsed.problem.length).toBeLessThan(200);
  });
});

describe("readiness", () => {
  const now = Date.parse("2026-01-31T12:00:00Z");
  const record = (change: Partial<LoopRecord>): LoopRecord => ({
    name: "node",
    lastStart: now - seconds(20),
    lastSuccess: now - seconds(20),
    lastError: undefined,
    consecutiveFailures: 0,
    bounded: false,
    nextAt: now + seconds(10),
    note: "secret note",
    ...change,
  });
  const lastError = { at: now, message: "token abc was refused" };

  test.each<[string, Partial<LoopRecord>]>([
    ["a good round and a rest", {}],
    ["a rest of an hour", { lastStart: now - minutes(50), lastSuccess: now - minutes(50) }],
    ["one failure of a slow loop", { lastSuccess: now - minutes(20), consecutiveFailures: 1, lastError }],
    ["failures since a moment", { consecutiveFailures: 9, lastError }],
    ["a first rest", { lastStart: undefined, lastSuccess: undefined }],
    [
      "a round that stays and said that all is well",
      { lastStart: now - minutes(90), lastSuccess: now - minutes(89), nextAt: undefined },
    ],
    ["a long poll", { lastStart: now - minutes(1), lastSuccess: now - minutes(1) - 1, nextAt: undefined }],
    ["what is no loop yet", { lastStart: undefined, lastSuccess: undefined, nextAt: undefined }],
  ])("%s is ready", (_, change) => expect(readiness([record(change)], now).ready).toBe(true));

  test.each<[string, Partial<LoopRecord>]>([
    ["failures for longer than a restart takes", { lastSuccess: now - seconds(31), consecutiveFailures: 3 }],
    ["nothing but a failure", { lastSuccess: undefined, consecutiveFailures: 1 }],
    [
      "a failure after which nobody expects better soon",
      { lastSuccess: now - minutes(2), consecutiveFailures: 1, nextAt: now + minutes(5) },
    ],
    [
      "a round that does not end",
      { lastStart: now - minutes(6), lastSuccess: now - minutes(7), nextAt: undefined },
    ],
  ])("%s is not", (_, change) => {
    const { ready, loops } = readiness([record({}), record({ name: "docker", lastError, ...change })], now);
    expect(ready).toBe(false);
    expect(loops).toMatchObject([
      { name: "node", ok: true, stale: false, age_seconds: 20 },
      { name: "docker", ok: false, stale: true },
    ]);
  });

  test("reports names and times, and no messages", () => {
    const text = JSON.stringify(readiness([record({ consecutiveFailures: 1, lastError })], now));
    expect(text).not.toMatch(/secret|token/);
  });
});
