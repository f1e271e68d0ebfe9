// Samples go over the session while there is one, now and then over HTTP while there is none, and never pile up.
import { expect, setDefaultTimeout, test } from "bun:test";
import { steadyNow } from "../../../src/lib/clock.ts";
import type * as v from "valibot";
import { createHttp } from "../../../src/control/http.ts";
import { publicApi } from "../../../src/control/noderax-api.ts";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { hours, milliseconds, minutes, seconds } from "../../../src/lib/duration.ts";
import { LoopRegistry, sleep } from "../../../src/lib/loop.ts";
import { type MetricsPace, metricsLoop } from "../../../src/metrics/report.ts";
import type { MetricsSample } from "../../../src/protocol/noderax/realtime.ts";
import { stopClock } from "../../support/fake-time.ts";
import { until } from "../../support/until.ts";
import { serve } from "../control/servers.ts";

setDefaultTimeout(150_000);

const identity = { nodeId: crypto.randomUUID(), agentToken: "t".repeat(40) };
const QUICK: MetricsPace = {
  http: milliseconds(60),
  sessionGrace: 0,
  shortest: milliseconds(1),
  random: () => 0.5,
};
const NEVER_HTTP: MetricsPace = { ...QUICK, http: hours(1), sessionGrace: hours(1) };

interface Sent {
  readonly event: string;
  readonly body: MetricsSample & Record<string, unknown>;
  readonly at: number;
}

/** A session that goes up and down when the test says so, and answers what the test wants. */
function channelOf(up: boolean, answer: () => unknown = () => ({ ok: true })) {
  let comes = Promise.withResolvers<void>();
  const sent: Sent[] = [];
  let open = 0;
  let peak = 0;
  return {
    sent,
    peak: () => peak,
    goesUp() {
      up = true;
      comes.resolve();
    },
    goesDown() {
      up = false;
      comes = Promise.withResolvers();
    },
    online: () => up,
    whenOnline: (signal: AbortSignal) =>
      up ? Promise.resolve() : Promise.race([comes.promise, sleep(hours(1), signal)]),
    async request<Schema extends v.GenericSchema>(event: string, body: object) {
      if (!up) throw new AgentError("realtime.offline", "there is no session");
      peak = Math.max(peak, ++open);
      sent.push({ event, body: body as Sent["body"], at: performance.now() });
      try {
        return (await answer()) as v.InferOutput<Schema>;
      } finally {
        open--;
      }
    },
  };
}

/** An API that records what is posted. */
function apiOf(answer: (count: number) => Response = () => Response.json({ id: 1 })) {
  const posted: { path: string; at: number; body: Record<string, unknown> }[] = [];
  const server = serve(async (request) => {
    const body = (await request.json()) as Record<string, unknown>;
    posted.push({ path: new URL(request.url).pathname, at: performance.now(), body });
    return answer(posted.length);
  });
  const http = createHttp({ baseUrl: server.url, authorities: () => "" });
  return Object.assign(server, { posted, api: publicApi(http, seconds(5)) });
}

/** A sampler whose CPU usage counts the samples it took. */
function countingSampler() {
  let taken = 0;
  return {
    taken: () => taken,
    sample: async (): Promise<MetricsSample> => ({ cpuUsage: ++taken, memoryUsage: 1, diskUsage: 1 }),
  };
}

function start(
  channel: ReturnType<typeof channelOf> | undefined,
  server: ReturnType<typeof apiOf>,
  interval: number,
  pace: MetricsPace = NEVER_HTTP,
) {
  const stop = new AbortController();
  const registry = new LoopRegistry();
  const lines: string[] = [];
  const log = (_: string, event: string) => void lines.push(event);
  const sampler = countingSampler();
  let accepted = 0;
  let overHttp = 0;
  const counted = <Answer>(answer: Answer): Answer => {
    if ((answer as { ok?: boolean } | undefined)?.ok !== false) accepted++;
    return answer;
  };
  const ports = {
    channel: channel && {
      ...channel,
      request: <Schema extends v.GenericSchema>(event: string, body: object) =>
        channel.request<Schema>(event, body).then(counted),
    },
    api: {
      metrics(...call: Parameters<typeof server.api.metrics>) {
        overHttp++;
        return server.api.metrics(...call).then(counted);
      },
    },
    identity,
    sampler,
    registry,
    log: { debug: log, info: log, warn: log, error: log },
  };
  const done = metricsLoop(ports, interval, stop.signal, pace);
  const record = registry.all()[0];
  return {
    lines,
    sampler,
    record,
    accepted: () => accepted,
    /** Samples that were sent over HTTP, answered or not. */
    overHttp: () => overHttp,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await done;
    },
  };
}

test("the first sample leaves as soon as the session is online, the next after the interval", async () => {
  using clock = stopClock();
  await using server = apiOf();
  const channel = channelOf(false);
  await using run = start(channel, server, seconds(2));
  await clock.pass(minutes(10));
  expect(channel.sent).toEqual([]);
  const up = performance.now();
  channel.goesUp();
  await clock.pass(seconds(3));
  const [first, second] = channel.sent;
  expect((first?.at ?? 0) - up).toBe(0);
  expect((second?.at ?? 0) - up).toBeWithin(seconds(1.8), seconds(2.2));
  expect([run.accepted(), run.overHttp()]).toEqual([2, 0]);
});

test("an event carries what the contract asks for, and the sample flat beside it", async () => {
  await using server = apiOf();
  const channel = channelOf(true);
  await using _ = start(channel, server, hours(1));
  await until("a sample", () => channel.sent.length >= 1);
  expect(channel.sent[0]?.event).toBe("agent.metrics");
  expect(channel.sent[0]?.body).toEqual({
    type: "agent.metrics",
    ...identity,
    agentVersion: expect.any(String) as string,
    timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as string,
    cpuUsage: 1,
    memoryUsage: 1,
    diskUsage: 1,
  });
});

test("while an ack is outstanding, nothing else is sent; then the newest sample goes, not the missed ones", async () => {
  using clock = stopClock();
  await using server = apiOf();
  const ack = Promise.withResolvers<unknown>();
  let asked = 0;
  const channel = channelOf(true, () => (++asked === 1 ? ack.promise : { ok: true }));
  await using run = start(channel, server, milliseconds(5));
  await clock.pass(seconds(2)); // 400 intervals
  expect(channel.sent).toHaveLength(1);
  expect(run.sampler.taken()).toBe(1);
  ack.resolve({ ok: true });
  await clock.pass(milliseconds(40));
  expect(channel.sent.length).toBeGreaterThanOrEqual(4);
  expect(channel.peak()).toBe(1);
});

test("what was measured while there was no session is not sent afterwards", async () => {
  using clock = stopClock();
  await using server = apiOf(() => new Response("", { status: 503 }));
  const channel = channelOf(false);
  await using run = start(channel, server, seconds(20), QUICK);
  await clock.pass(QUICK.http * 2);
  await until("a failed try over HTTP", () => run.record?.lastError !== undefined);
  const before = run.sampler.taken();
  channel.goesUp();
  await clock.pass(seconds(10));
  expect(channel.sent[0]?.body.cpuUsage).toBe(before + 1);
  expect(channel.sent).toHaveLength(1);
});

test("without a session, samples go over HTTP at its own pace, however short the interval", async () => {
  await using server = apiOf();
  await using run = start(undefined, server, milliseconds(5), QUICK);
  await until("four samples", () => server.posted.length >= 4);
  const gaps = server.posted.slice(1).map(({ at }, k) => at - (server.posted[k]?.at ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(55);
  await until("all accepted", () => run.accepted() >= 4);
  expect(run.record?.note).toBe("over HTTP");
});

test("by default that is no more often than once a minute", async () => {
  await using server = apiOf();
  const started = steadyNow();
  await using run = start(undefined, server, seconds(2), { ...QUICK, http: minutes(1), random: () => 0 });
  await until("a plan", () => run.accepted() === 1 && (run.record?.nextAt ?? 0) > started + seconds(5));
  expect((run.record?.nextAt ?? 0) - started).toBeGreaterThanOrEqual(minutes(1));
});

test("over HTTP, the identity is in the body, `collectedAt` instead of type and timestamp", async () => {
  await using server = apiOf();
  await using _ = start(undefined, server, hours(1));
  await until("a sample", () => server.posted.length === 1);
  expect(server.posted[0]?.path).toBe("/api/v1/agent/metrics");
  expect(server.posted[0]?.body).toEqual({
    ...identity,
    agentVersion: expect.any(String) as string,
    collectedAt: expect.stringMatching(/Z$/) as string,
    cpuUsage: 1,
    memoryUsage: 1,
    diskUsage: 1,
  });
});

test("HTTP takes over when the session ends, until it is online again", async () => {
  await using server = apiOf();
  const channel = channelOf(true);
  await using _ = start(channel, server, milliseconds(20), QUICK);
  await until("samples over the session", () => channel.sent.length >= 2);
  expect(server.posted).toEqual([]);
  channel.goesDown();
  await until("samples over HTTP", () => server.posted.length >= 2);
  const [emitted, posted] = [channel.sent.length, server.posted.length];
  channel.goesUp();
  await until("samples over the session again", () => channel.sent.length >= emitted + 3);
  expect(server.posted.length).toBeLessThanOrEqual(posted + 1);
});

test("a short loss of the session causes no call over HTTP", async () => {
  using clock = stopClock();
  await using server = apiOf();
  const channel = channelOf(true);
  const http = minutes(1);
  await using run = start(channel, server, seconds(10), { ...QUICK, http });
  await clock.pass(http + seconds(1));
  channel.goesDown();
  await clock.pass(http - seconds(10));
  const before = run.accepted();
  channel.goesUp();
  await clock.pass(seconds(30));
  expect(run.accepted()).toBeGreaterThan(before);
  expect(run.overHttp()).toBe(0);
});

test("a session that is expected gets its time before HTTP is tried", async () => {
  await using server = apiOf();
  const channel = channelOf(false);
  await using _ = start(channel, server, milliseconds(20), { ...QUICK, sessionGrace: milliseconds(200) });
  const started = performance.now();
  await until("a sample over HTTP", () => server.posted.length === 1);
  expect((server.posted[0]?.at ?? 0) - started).toBeGreaterThanOrEqual(290); // half as much again, by `random`
});

test("when throttled, the server's Retry-After is kept; and a session that comes meanwhile is used at once", async () => {
  await using server = apiOf(() => new Response("", { status: 429, headers: { "retry-after": "480" } }));
  const channel = channelOf(false);
  await using run = start(channel, server, milliseconds(20), QUICK);
  await until("the pause asked for", () => (run.record?.nextAt ?? 0) > steadyNow() + minutes(7));
  expect(server.posted).toHaveLength(1);
  channel.goesUp();
  await until("a sample over the session", () => channel.sent.length >= 1);
  expect(run.lines).toEqual([]); // an outage is for the heartbeat to speak of
});

test("a refused sample is complained of once, counts as an error, and is followed by the next one", async () => {
  await using server = apiOf();
  let good = false;
  const channel = channelOf(true, () =>
    good ? { ok: true } : { ok: false, eventType: "agent.metrics", message: "Bad Request Exception" },
  );
  await using run = start(channel, server, milliseconds(10));
  await until("three refused samples", () => channel.sent.length >= 3);
  expect(run.lines).toEqual(["not accepted: Bad Request Exception"]);
  expect(run.accepted()).toBe(0);
  expect(run.record?.lastError?.message).toBe("Bad Request Exception");
  good = true;
  await until("accepted samples", () => run.accepted() >= 2);
  expect(run.lines).toEqual(["not accepted: Bad Request Exception", "accepted again"]);
});

test("a sample that is refused over HTTP is complained of once", async () => {
  const body = { statusCode: 400, message: "cpuUsage is required", path: "/", timestamp: "" };
  await using server = apiOf(() => Response.json(body, { status: 400 }));
  await using run = start(undefined, server, milliseconds(10), QUICK);
  await until("a complaint", () => run.lines.length > 0);
  expect(run.lines).toEqual(["not accepted: cpuUsage is required"]);
  expect(run.accepted()).toBe(0);
});

test("good samples leave no line in the log", async () => {
  await using server = apiOf();
  const channel = channelOf(true);
  await using run = start(channel, server, milliseconds(2));
  await until("ten samples", () => run.accepted() >= 10);
  expect(run.lines).toEqual([]);
});

test("it stops at once, whatever it waits for", async () => {
  using clock = stopClock();
  await using server = apiOf();
  const runs = [start(channelOf(false), server, hours(1)), start(channelOf(true), server, hours(1))];
  await clock.pass(minutes(1));
  // It would not end while the clock stands if it waited for any time.
  for (const run of runs) await run[Symbol.asyncDispose]();
  expect(runs.map(({ record }) => record?.note)).toEqual(["stopped", "stopped"]);
});
