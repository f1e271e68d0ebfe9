// Port forwarding to real containers, through the whole agent: other clients than Bun's, and everything that ends a tunnel.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { CLOSE, HALF_CLOSE, forwardPath } from "../../src/protocol/caravanserai/tunnel.ts";
import { BLOB, BOX, boxRuns, boxService } from "../support/box.ts";
import { type Command, command } from "../support/command.ts";
import { missing } from "../support/docker.ts";
import { type ProjectHandle, ProjectNode, type Service } from "../support/project-node.ts";
import { type TunnelClient, tunnelClient } from "../support/tunnel-client.ts";
import { elapse, until } from "../support/until.ts";

setDefaultTimeout(minutes(4));

const MB = 1024 * 1024;
/** A gigabyte each way: busybox hashes it within a quarter of a minute. */
const BULK = Number(process.env["NODERAX_TEST_BULK_MB"] ?? 1_024) * MB;

describe.skipIf(missing !== undefined)("a tunnel to a container (needs Docker)", () => {
  let node: ProjectNode;
  let box: Service;
  let shop: ProjectHandle;
  let agent: { readonly port: number };
  beforeAll(async () => {
    // In a process of its own: its descriptors and its memory are nobody else's.
    node = await ProjectNode.start({ process: true });
    box = await boxService(node, { env: { ROUNDS: String(BULK / BLOB) } });
    shop = await boxRuns(node.project("shop", [box]).apply());
    agent = { port: await node.port() };
  }, minutes(3));
  afterAll(() => node[Symbol.asyncDispose](), minutes(2));

  const name = (service = "box"): string => `${shop.name}/${service}`;
  const urlOf = (service: string, port: number): string =>
    `http://127.0.0.1:${agent.port}${forwardPath(...names(service), port)}`;
  const names = (service: string): [project: string, service: string] => {
    const [project = "", own = ""] = (service.includes("/") ? service : name(service)).split("/");
    return [project, own];
  };
  const dial = (port: number, options: { name?: string; stalled?: boolean } = {}): Promise<TunnelClient> =>
    tunnelClient(agent, port, { name: name(), ...options });
  /** Without an upgrade: 426 is the answer of an agent that would open it. */
  const ask = async (service: string, port: number): Promise<number> =>
    (await fetch(urlOf(service, port))).status;
  const noTunnelIsLeft = (): Promise<void> =>
    shop.until("no tunnel is left", async () => (await tunnels()) === 0);
  const tunnels = async (): Promise<number | undefined> =>
    (await node.status()).caravanserai?.listener?.tunnels;

  interface Report {
    readonly received: number;
    readonly start: string;
    readonly sent: string;
    readonly heard: string;
    readonly code: number;
    readonly reason: string;
  }
  /** `ws` under Node. */
  async function client(port: number, task: object): Promise<Report> {
    const script = new URL("../support/ws-client.mjs", import.meta.url).pathname;
    const child = Bun.spawn(["node", script, JSON.stringify({ url: urlOf("box", port), ...task })], {
      stderr: "inherit",
    });
    return JSON.parse(await child.stdout.text()) as Report;
  }

  /** The command of ours, and the local port that it listens on. */
  async function forward(port: number): Promise<Command & { readonly port: number }> {
    const child = command(["forward", name(), `0:${port}`, "--node", `127.0.0.1:${agent.port}`]);
    await child.says(/forwarding 127\.0\.0\.1:\d+ →/);
    return { ...child, port: Number(/:(\d+) →/.exec(child.out())?.[1]) };
  }

  test("carries HTTP for another WebSocket library", async () => {
    const say = "GET / HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n";
    const seen = await client(BOX.http, { say });
    expect(seen.start).toStartWith("HTTP/1.1 200 OK\r\n");
    expect(seen.start).toEndWith("\r\n\r\nhello\n");
    expect([seen.code, seen.reason]).toEqual([CLOSE.done, "the service closed the connection"]);
  });

  test("carries HTTP for programs that connect to `noderax-agent forward`", async () => {
    await using local = await forward(BOX.http);
    for (let i = 0; i < 3; i++) {
      const answer = await fetch(`http://127.0.0.1:${local.port}/`, { keepalive: false });
      expect([answer.status, await answer.text()]).toEqual([200, "hello\n"]);
    }
    local.kill("SIGINT");
    expect(await local.ended()).toMatchObject({ code: 130, notes: "" });
    await noTunnelIsLeft();
  });

  test("brings what a server says first, and the talk after it", async () => {
    using client = await dial(BOX.banner);
    const banner = "8.0 busybox is ready\n";
    await client.has(banner.length);
    client.send("select 1\n");
    await client.has(banner.length + "you said: select 1\n".length);
    expect(client.bytes().toString()).toBe(`${banner}you said: select 1\n`);
  });

  test("gives back what an echo was sent, byte for byte", async () => {
    const seen = await client(BOX.echo, { send: 32 * MB, frame: 99_991, end: true, protocols: [HALF_CLOSE] });
    expect(seen).toMatchObject({ received: 32 * MB, code: CLOSE.done });
    expect(seen.heard).toBe(seen.sent);
  });

  test(`brings ${BULK / MB} MB to a container unchanged`, async () => {
    const seen = await client(BOX.sink, { send: BULK, end: true, protocols: [HALF_CLOSE] });
    expect(seen.start).toBe(`${seen.sent}  -\n`);
  });

  test(`brings ${BULK / MB} MB from a container unchanged`, async () => {
    const sum = createHash("sha256");
    const blob = await Bun.spawn(["docker", "exec", `${shop.name}-box`, "cat", "/blob"], {
      env: process.env,
    }).stdout.bytes();
    expect(blob.length).toBe(BLOB);
    for (let round = 0; round < BULK / BLOB; round++) sum.update(`${round}\n`).update(blob);
    const seen = await client(BOX.stream, {});
    expect([seen.heard, seen.code]).toEqual([sum.digest("hex"), CLOSE.done]);
  });

  test("is one of 500 to one container, and leaves no descriptor behind", async () => {
    const descriptors = (): number => readdirSync(`/proc/${node.pid}/fd`).length;
    await noTunnelIsLeft();
    const before = descriptors();
    // busybox lets two connections wait: more at a time would only measure TCP's patience.
    const clients: TunnelClient[] = [];
    const open = async (): Promise<void> => {
      while (opened < 500) {
        opened++;
        clients.push(await dial(BOX.echo));
      }
    };
    let opened = 0;
    try {
      await Promise.all(Array.from({ length: 8 }, open));
      expect(await tunnels()).toBe(500);
      for (const [index, client] of clients.entries()) client.send(`I am ${String(index).padStart(3, "0")}`);
      await Promise.all(clients.map((client) => client.has(8)));
      expect(clients.map((client) => client.bytes().toString().slice(5))).toEqual(
        clients.map((_, index) => String(index).padStart(3, "0")),
      );
      for (const client of clients) client.close();
      await Promise.all(clients.map((client) => client.closed));
    } finally {
      for (const client of clients) client[Symbol.dispose]();
    }
    await noTunnelIsLeft();
    await until("its descriptors are back", () => descriptors() <= before + 5, seconds(60));
  });

  /** What HTTP says through a tunnel; "" while there is none. */
  const greets = async (): Promise<string> => {
    const { start } = await client(BOX.http, { say: "GET / HTTP/1.0\r\n\r\n" });
    return start.split("\r\n\r\n")[1]?.trim() ?? "";
  };

  describe("whose container is killed", () => {
    /** Killed, and running again. */
    const kill = async (): Promise<void> => {
      await node.docker("kill", `${shop.name}-box`);
    };
    const back = async (): Promise<void> => {
      await shop.until("it runs again", async () => (await shop.container("box"))?.state === "running");
      await boxRuns(shop);
      // For up to a second the kernel may still take its address for one where nobody is.
      await shop.until("it is reached again", async () => (await greets()) === "hello");
    };

    test("in mid-transfer is closed with a reason, and the next one reaches it again", async () => {
      using reader = await dial(BOX.flood);
      using writer = await dial(BOX.echo);
      using silent = await dial(BOX.banner);
      await reader.has(16 * MB);
      writer.send(Buffer.alloc(8 * MB));
      await writer.has(MB);
      await kill();
      const closed = await Promise.all([reader.closed, writer.closed, silent.closed]);
      const ends = closed.map(({ code, reason }) => `${code} ${reason}`);
      // The kernel ends a killed program's connections, or takes away its network first: then Docker tells.
      for (const end of ends) expect(WAYS_TO_END).toContain(end);
      await back();
      using again = await dial(BOX.echo);
      again.send("are you there?");
      await again.has(14);
    });

    test("under a reader that stalls is closed too: the reader hears of it when it reads on", async () => {
      using reader = await dial(BOX.flood);
      await reader.has(MB);
      reader.stall();
      await shop.until("the tunnel stands still", async () => standsStill(node.pid));
      await kill();
      await noTunnelIsLeft();
      reader.read();
      expect(await reader.closed).toEqual({ code: CLOSE.away, reason: "container stopped" });
      await back();
    });
  });

  test("reaches the new container after the project was changed", async () => {
    const before = await shop.running("box");
    using old = await dial(BOX.echo);
    const renewed = shop.with([{ ...box, env: { ...box.env, GREETING: "bonjour" } }]);
    renewed.apply({ force: true });
    const { code, reason } = await old.closed;
    expect(WAYS_TO_END).toContain(`${code} ${reason}`);
    await shop.until("the new one serves", async () => (await greets()) === "bonjour");
    expect((await shop.running("box")).id).not.toBe(before.id);
    await boxRuns(renewed);
  });

  test("leads nowhere but to containers of the project that was named", async () => {
    const other = await node
      .project("other", [{ ...box, name: "db" }])
      .apply()
      .becomes("Running");
    expect(await ask("box", BOX.echo)).toBe(426);
    expect(await ask(`${other.name}/db`, BOX.echo)).toBe(426);
    expect(await ask("db", BOX.echo)).toBe(404);
    expect(await ask(`${other.name}/box`, BOX.echo)).toBe(404);
    // By its address or by Docker's name it is not to be had either.
    expect(await ask(`${shop.name}/${shop.name}-box`, BOX.echo)).toBe(404);
    other.delete();
    await other.becomes("Terminated");
    expect(await ask(`${other.name}/db`, BOX.echo)).toBe(404);
  });

  test("does not lead to a container that only carries the name, or only the labels of a project", async () => {
    const { prefix } = node;
    const label = (key: string, value: string): string[] => ["--label", `${key}=${value}`];
    const foreign = async (own: string, ...args: string[]): Promise<void> => {
      await node.docker(
        "run",
        "--detach",
        "--name",
        own,
        ...label("noderax.test", prefix),
        ...args,
        box.image ?? "",
      );
    };
    // The agent would take one with both labels for an orphan; these are nobody's.
    await foreign(`${prefix}-alien-web`);
    await foreign(`${prefix}-half-web`, ...label("cara.project", `${prefix}-half`));
    await foreign(
      `${prefix}-disguised`,
      ...label("cara.project", shop.name),
      ...label("cara.service", "intruder"),
    );
    expect(await ask(`${prefix}-alien/web`, BOX.echo)).toBe(404);
    expect(await ask(`${prefix}-half/web`, BOX.echo)).toBe(404);
    expect(await ask("intruder", BOX.echo)).toBe(404);
  });

  test("to a port on which nothing listens, or to a container that does not run, is refused in words", async () => {
    const upgraded = (service: string, port: number): Promise<string> =>
      dial(port, { name: service }).then(
        () => "opened",
        (error: unknown) => String(error),
      );
    expect(await upgraded(name(), 81)).toContain("connection refused: nothing listens on that port");
    expect(await upgraded(name("none"), BOX.echo)).toContain("no container of this node serves");
    const ending = node.project("ending", [{ name: "job", image: await node.image("exit 1") }]).apply();
    // Not by a tunnel: one to a container that ends just then is dialled for ten seconds.
    await ending.until("it is reported not to run", async () =>
      (await (await fetch(urlOf(`${ending.name}/job`, BOX.echo))).text()).includes("is not running (exited)"),
    );
    ending.delete();
    await ending.becomes("Terminated");
  });
});

const WAYS_TO_END = [
  `${CLOSE.away} container stopped`,
  `${CLOSE.done} the service closed the connection`,
  `${CLOSE.reset} the service reset the connection`,
];

/** Whether a process takes no more than a tenth of a core just now. */
async function standsStill(pid: number): Promise<boolean> {
  const read = async (): Promise<number> => {
    const [, , , , , , , , , , , user, system] = (await Bun.file(`/proc/${pid}/stat`).text())
      .replace(/^.*\) /, "0 0 ")
      .split(" ");
    return Number(user) + Number(system);
  };
  const before = await read();
  await elapse(500);
  return (await read()) - before < 5;
}
