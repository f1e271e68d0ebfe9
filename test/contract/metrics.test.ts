// Metrics and heartbeats against a real control plane: what is sent, how often, and which of them keeps the node online.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { NODE, TEST_LIMIT } from "../support/agent.ts";
import { elapse, until } from "../support/until.ts";
import type { Packet } from "../support/frames.ts";
import { type Network, network } from "../support/network.ts";
import { agentBehind, alerts, nodeIs, sessionOnline } from "../support/session.ts";

setDefaultTimeout(TEST_LIMIT);

/** What the contract lists for the event; the control plane refuses whatever else is there. */
const FIELDS = new Set(
  "type nodeId agentToken cpuUsage memoryUsage diskUsage temperature networkStats networks cpu memory disk agentVersion timestamp collectedAt".split(
    " ",
  ),
);

const samples = (wire: Network): Packet[] => wire.events("agent.metrics");
const ackOf = (wire: Network, { id }: Packet): Packet | undefined =>
  wire.packets.find((packet) => packet.from === "server" && packet.event === undefined && packet.id === id);
/** Between one sample and the next, as the agent's clock has them. */
const gapsOf = (sent: readonly Packet[]): number[] =>
  sent.slice(1).map((sample, i) => takenAt(sample) - takenAt(sent[i] ?? sample));
const takenAt = ({ body }: Packet): number => Date.parse(String(body["timestamp"]));

describe.concurrent("over the session, samples", () => {
  test("come at once and then every interval, a second at least, with what the contract allows", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { settings: { metrics_interval: "300ms" } });
    await sessionOnline(node);
    const taken = (): number =>
      samples(wire).filter((sample) => ackOf(wire, sample)?.body["ok"] === true).length;
    await until("four were taken", () => taken() >= 4);
    expect(node.sandbox.metrics(NODE).length).toBeGreaterThanOrEqual(4);
    const sent = samples(wire).slice(0, 4);
    for (const gap of gapsOf(sent)) expect(gap).toBeGreaterThan(850);
    for (const sample of sent) {
      expect(Object.keys(sample.body).filter((key) => !FIELDS.has(key))).toEqual([]);
      // 0 °C would be drawn where nothing is known.
      expect(sample.body["temperature"]).not.toBe(0);
      for (const usage of ["cpuUsage", "memoryUsage", "diskUsage"]) {
        expect(sample.body[usage]).toBeGreaterThanOrEqual(0);
        expect(sample.body[usage]).toBeLessThanOrEqual(100);
      }
    }
    const [row] = node.sandbox.metrics(NODE);
    expect(row?.memory_usage).toBeGreaterThan(0);
    expect(row?.network_stats).toMatchObject({ rxBytes: expect.any(Number), txBytes: expect.any(Number) });
    expect(wire.count("/agent/metrics")).toBe(0);
  });

  test("of an outage are not made up for: the first one after it is new, and the next one an interval later", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire);
    await sessionOnline(node);
    await until("it measures", () => samples(wire).length > 0);
    wire.refuse({ status: 403 });
    wire.cut();
    await elapse(2_500);
    const before = samples(wire).length;
    wire.refuse(undefined);
    const back = Date.now();
    await sessionOnline(node, { reconnects: 1 });
    await until("it measures again, three times", () => samples(wire).length >= before + 3);
    const after = samples(wire).slice(before);
    for (const gap of gapsOf(after)) expect(gap).toBeGreaterThan(850);
    for (const sample of after) expect(takenAt(sample)).toBeGreaterThanOrEqual(back);
  });

  test("wait for the ack of the one before, however long it takes, and then only the newest is sent", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, {
      sandbox: { faults: { delay: 2_500, routes: ["realtime.metrics"] } },
      settings: { request_timeout: "10s" },
    });
    await sessionOnline(node);
    await until("two are in", () => node.sandbox.metrics(NODE).length >= 2);
    const [first, second] = samples(wire);
    if (first === undefined || second === undefined) throw new Error("there are two");
    // Sent after the ack, and measured after it: not one that had waited for it.
    expect(takenAt(second)).toBeGreaterThanOrEqual(ackOf(wire, first)?.at ?? Infinity);
  });
});

describe.concurrent("a heartbeat over HTTP", () => {
  test("is not sent while the session keeps the node online, and soon after it does no longer", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { settings: { heartbeat_interval: "4s" } });
    await sessionOnline(node);
    await until("it measures", () => samples(wire).length > 0);
    const before = wire.count("/agent/heartbeat");
    // The one of the start, before there was a session.
    expect(before).toBeLessThanOrEqual(1);
    // One a second: for longer than a heartbeat's interval.
    const taken = samples(wire).length;
    await until("six samples were sent", () => samples(wire).length >= taken + 6);
    expect(wire.count("/agent/heartbeat")).toBe(before);
    expect(node.sandbox.node(NODE).status).toBe("online");
    wire.refuse({ status: 403 });
    wire.cut();
    // It may be offline for less than a look takes.
    await until("it was offline", () => alerts(node) > 0);
    await until("heartbeats take over", () => wire.count("/agent/heartbeat") > before);
    await nodeIs(node, "online");
  });

  test("takes over when the session is up but the control plane refuses every sample", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, {
      sandbox: {
        faults: { errorRate: 1, routes: ["realtime.metrics"] },
        timings: { heartbeatTimeout: 5_000, offlineCheck: 100 },
      },
      settings: { heartbeat_interval: "1s" },
    });
    await sessionOnline(node);
    // One a second: for longer than the server's timeout.
    await until("heartbeats come", () => wire.count("/agent/heartbeat") >= 7);
    expect(alerts(node)).toBe(0);
    expect(node.agent.status().noderax?.session?.state).toBe("online");
    expect(
      node.log.filter((line) => line.includes('"loop":"metrics"') && line.includes("not accepted")),
    ).toHaveLength(1);
  });
});
