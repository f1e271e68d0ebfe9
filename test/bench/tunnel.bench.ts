// Port forwarding: how fast, how soon and at which cost. Agent, services and client are processes of their own.
import { connect } from "node:net";
import { join } from "node:path";
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import { type TunnelClient, tunnelClient } from "../support/tunnel-client.ts";
import type { Bench } from "./bench.ts";
import { busyTimeOf, growthDuring, once } from "./process-figures.ts";
import { elapse } from "../support/until.ts";

interface Stage {
  readonly port: number;
  readonly pid: number;
  readonly echo: number;
  readonly source: number;
  readonly sink: number;
}

async function start(role: "agent" | "services") {
  const file = join(import.meta.dir, "tunnel-ends.ts");
  const child = Bun.spawn([process.execPath, file, role], { stdout: "pipe", stderr: "inherit" });
  const { value } = await child.stdout.getReader().read();
  return { child, ports: JSON.parse(new TextDecoder().decode(value)) as number[] };
}

async function onStage<T>(measure: (stage: Stage) => Promise<T>): Promise<T> {
  const [agent, services] = await Promise.all([start("agent"), start("services")]);
  try {
    const [port = 0] = agent.ports;
    const [echo = 0, source = 0, sink = 0] = services.ports;
    return await measure({ port, pid: agent.child.pid, echo, source, sink });
  } finally {
    for (const { child } of [agent, services]) {
      child.kill();
      await child.exited;
    }
  }
}

const MB = 1_000_000;
const FRAME = Buffer.alloc(262_144, "frame ");
const REPETITIONS = 4;

const rate = (bytes: number, since: number): number => bytes / MB / ((performance.now() - since) / 1_000);

async function pour(client: TunnelClient, total: number): Promise<void> {
  for (let sent = 0; sent < total; sent += FRAME.length) if (!client.send(FRAME)) await client.drained();
  client.end();
}

/** The first repetition warms up. */
async function repeated(measure: () => Promise<number>): Promise<number[]> {
  const samples: number[] = [];
  for (let repetition = 0; repetition <= REPETITIONS; repetition++) samples.push(await measure());
  return samples.slice(1);
}

const TOTAL = 16_384 * 65_536;

const down = once(() =>
  onStage(async (stage) => {
    const busy: number[] = [];
    const rates = await repeated(async () => {
      using client = await tunnelClient(stage, stage.source);
      const since = performance.now();
      const before = busyTimeOf(stage.pid);
      client.send(`${TOTAL}\n`);
      await client.has(TOTAL);
      busy.push((busyTimeOf(stage.pid) - before) / (TOTAL / 1e9));
      const figure = rate(TOTAL, since);
      client.end();
      await client.closed;
      return figure;
    });
    return { rates, busy: busy.slice(1) };
  }),
);

const up = (): Promise<number[]> =>
  onStage((stage) =>
    repeated(async () => {
      using client = await tunnelClient(stage, stage.sink);
      const since = performance.now();
      await pour(client, TOTAL);
      await client.closed;
      if (Number(client.bytes().toString()) !== TOTAL) throw new Error("not everything arrived");
      return rate(TOTAL, since);
    }),
  );

const bothWays = (): Promise<number[]> =>
  onStage((stage) =>
    repeated(async () => {
      using client = await tunnelClient(stage, stage.echo);
      const since = performance.now();
      await Promise.all([pour(client, TOTAL / 4), client.has(TOTAL / 4)]);
      return rate(TOTAL / 4, since);
    }),
  );

const ROUNDS = 2_000;

const latency = once(() =>
  onStage(async (stage) => {
    using client = await tunnelClient(stage, stage.echo);
    const direct = connect({ port: stage.echo, host: "127.0.0.1", noDelay: true });
    const byte = Uint8Array.of(1);
    const through: number[] = [];
    const straight: number[] = [];
    // In turns, so that both meet the same machine.
    for (let round = 0; round < ROUNDS; round++) {
      let since = performance.now();
      const there = client.has(client.received() + 1);
      client.send(byte);
      await there;
      through.push(performance.now() - since);
      since = performance.now();
      const back = new Promise((resolve) => void direct.once("data", resolve));
      direct.write(byte);
      await back;
      straight.push(performance.now() - since);
    }
    direct.destroy();
    const warm = ROUNDS / 4;
    return { through: through.slice(warm), straight: straight.slice(warm) };
  }),
);

const MANY = 500;

const many = once(() =>
  onStage(async (stage) => {
    const growth: number[] = [];
    const rates: number[] = [];
    const payload = Buffer.alloc(65_536, "x");
    for (let repetition = 0; repetition < 3; repetition++) {
      growth.push(
        await growthDuring(stage.pid, async () => {
          const since = performance.now();
          const clients = await Promise.all(
            Array.from({ length: MANY }, () => tunnelClient(stage, stage.echo)),
          );
          rates.push(MANY / ((performance.now() - since) / 1_000));
          await Promise.all(
            clients.map((client) => {
              for (let i = 0; i < 4; i++) client.send(payload);
              return client.has(4 * payload.length);
            }),
          );
          for (const client of clients) client.end();
          await Promise.all(clients.map(({ closed }) => closed));
        }),
      );
    }
    return { growth, rates };
  }),
);

const SLOW = 20;

/** Twenty clients that ask for a gigabyte each and read nothing of it for five seconds. */
const slow = (): Promise<number[]> =>
  onStage(async (stage) => {
    const clients: TunnelClient[] = [];
    const growth = await growthDuring(stage.pid, async () => {
      for (let i = 0; i < SLOW; i++) {
        const client = await tunnelClient(stage, stage.source, { stalled: true });
        client.send(`${TOTAL}\n`);
        clients.push(client);
      }
      await elapse(seconds(5));
    });
    for (const client of clients) client[Symbol.dispose]();
    await elapse(milliseconds(100));
    return [growth];
  });

export default [
  {
    name: "tunnel: service to client, 1 GB",
    unit: "MB/s",
    limit: 400,
    better: "more",
    run: async () => (await down()).rates,
  },
  {
    name: "tunnel: processor time of the agent for it, a GB",
    unit: "ms",
    run: async () => (await down()).busy,
  },
  { name: "tunnel: client to service, 1 GB", unit: "MB/s", better: "more", run: up },
  { name: "tunnel: both ways at once, each way", unit: "MB/s", better: "more", run: bothWays },
  {
    name: "tunnel: latency added to a round trip of 1 byte",
    unit: "ms",
    limit: 0.3,
    async run() {
      const { through, straight } = await latency();
      const usual = straight.toSorted((a, b) => a - b)[Math.floor(straight.length / 2)] ?? 0;
      return through.map((took) => took - usual);
    },
  },
  {
    name: "tunnel: the same round trip without it",
    unit: "ms",
    run: async () => (await latency()).straight,
  },
  { name: "tunnel: opened", unit: "tunnels/s", better: "more", run: async () => (await many()).rates },
  {
    name: `tunnel: growth of the agent by ${MANY} in use`,
    unit: "MB",
    limit: 64,
    run: async () => (await many()).growth,
  },
  { name: `tunnel: growth of the agent by ${SLOW} that do not read`, unit: "MB", limit: 40, run: slow },
] satisfies Bench[];
