// Logs of real containers, through the real engine and the agent's HTTP server.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { type Socket, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { containerName, networkName } from "../../src/projects/plan/names.ts";
import {
  IMAGE,
  type Playground,
  createPlayground,
  docker,
  dockerHost,
  engine,
  missing,
  until,
} from "../support/docker.ts";
import { settled } from "../support/until.ts";
import { type ListenerHarness, startTestListener } from "../support/listener.ts";

setDefaultTimeout(minutes(2));

const forever = new AbortController().signal;

describe.skipIf(missing !== undefined)("logs of containers (needs Docker)", () => {
  interface Service extends AsyncDisposable {
    readonly place: Playground;
    readonly agent: ListenerHarness;
    ask(query?: string): Promise<Response>;
    text(query?: string): Promise<string>;
  }

  /** A service "web" that does this, and the agent in front of it, which reaches Docker at `host`. */
  async function serving(script: string, host = dockerHost): Promise<Service> {
    const own = engine({ host });
    const place = await createPlayground(own);
    const agent = await startTestListener({}, { containers: own });
    try {
      await place.bringUp(place.wants([{ name: "web", image: await place.image(script) }]));
    } catch (error) {
      await place[Symbol.asyncDispose]();
      throw error;
    }
    const ask = (query = ""): Promise<Response> => agent.get(`/api/v1/logs/${place.project}/web?${query}`);
    return {
      place,
      agent,
      ask,
      text: async (query) => (await ask(query)).text(),
      async [Symbol.asyncDispose]() {
        await agent.stop();
        await place[Symbol.asyncDispose]();
      },
    };
  }

  const has = (service: Service, text: string): Promise<unknown> =>
    until(`"${text}" in the log`, async () => (await service.text("tail=5")).includes(text), seconds(60));

  test("stdout and stderr come in the order in which they were written, without Docker's frames", async () => {
    await using service = await serving(
      "for i in 1 2 3; do echo out$i; sleep 0.2; echo err$i >&2; sleep 0.2; done; sleep 1000",
    );
    await has(service, "err3");
    expect(await service.text()).toBe("out1\nerr1\nout2\nerr2\nout3\nerr3\n");
  });

  test("tail gives the last lines, timestamps their time, since leaves out what is older", async () => {
    await using service = await serving(
      "for i in 1 2 3 4 5; do echo line$i; done; sleep 2; echo last; sleep 1000",
    );
    await has(service, "last");
    expect(await service.text("tail=2")).toBe("line5\nlast\n");
    expect(await service.text("tail=0")).toBe("");
    const stamped = (await service.text("tail=1&timestamps=true")).trim();
    expect(stamped).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z last$/);
    const at = Date.parse(stamped.split(" ")[0] ?? "");
    expect(await service.text(`since=${(at - seconds(1)) / 1_000}`)).toBe("last\n");
    expect(await service.text(`since=${new Date(at - seconds(1)).toISOString()}`)).toBe("last\n");
    expect(await service.text("since=1h&tail=1")).toBe("last\n");
    expect(await service.text(`since=${(at + minutes(10)) / 1_000}`)).toBe("");
  });

  test("a log of megabytes comes whole, as docker itself reads it", async () => {
    await using service = await serving("yes 0123456789abcdef | head -n 50000; echo end; sleep 1000");
    await has(service, "end");
    const text = await service.text();
    expect(text.length).toBe(50_000 * 17 + 4);
    expect(text.endsWith("0123456789abcdef\nend\n")).toBe(true);
  });

  test("what is followed comes while it is written, and ends with the container", async () => {
    await using service = await serving("echo one; while [ ! -e /go ]; do sleep 0.1; done; echo two; exit 0");
    await has(service, "one");
    const answer = await service.ask("follow=true");
    const reader = answer.body?.getReader();
    const decoder = new TextDecoder();
    let heard = "";
    const more = async (): Promise<boolean> => {
      const { done, value } = (await reader?.read()) ?? { done: true };
      heard += decoder.decode(value, { stream: true });
      return !done;
    };
    while (!heard.includes("one")) await more();
    expect(heard).toBe("one\n");
    await docker("exec", containerName(service.place.project, "web"), "sh", "-c", "echo > /go");
    while (await more());
    expect(heard).toBe("one\ntwo\n");
  });

  test("a container with a terminal is read as it is", async () => {
    await using place = await createPlayground();
    await using agent = await startTestListener({}, { containers: engine() });
    const { project } = place;
    await engine().createNetwork(project, networkName(project), forever);
    const labels = ["--label", `cara.project=${project}`, "--label", "cara.service=web"];
    const named = [`--name=${containerName(project, "web")}`, `--network=${networkName(project)}`];
    await docker(
      "run",
      "--detach",
      "--tty",
      ...named,
      ...labels,
      IMAGE,
      "sh",
      "-c",
      "echo hello; sleep 1000",
    );
    const read = async (): Promise<string> => (await agent.get(`/api/v1/logs/${project}/web`)).text();
    await until("the line", async () => (await read()) === "hello\r\n", seconds(60));
  });

  test("one that has ended can be read, and not followed; one that is not there is 404", async () => {
    await using service = await serving("echo done; exit 3");
    const name = containerName(service.place.project, "web");
    await until(
      "it has ended",
      async () => (await docker("inspect", "--format", "{{.State.Status}}", name)) === "exited",
      seconds(60),
    );
    expect(await service.text()).toBe("done\n");
    const refused = await service.ask("follow=true");
    expect([refused.status, refused.headers.get("content-type")]).toEqual([409, "application/problem+json"]);
    const absent = await service.agent.get(`/api/v1/logs/${service.place.project}/other`);
    expect(absent.status).toBe(404);
  });

  test("a replacement in preparation is not what is read", async () => {
    await using service = await serving("echo current; sleep 1000");
    await has(service, "current");
    const { place } = service;
    const own = engine();
    const wanted = place.wants([{ name: "web", image: await place.image("echo next; sleep 1000") }]);
    const [next] = wanted.services;
    if (next === undefined) throw new Error("no service");
    await own.createContainer(place.project, next, "next", wanted.network, forever);
    await own.startContainer(`${containerName(place.project, "web")}_next`, forever);
    expect(await service.text()).toBe("current\n");
    const found = await own.findService(place.project, "web", forever);
    const address = await docker(
      "inspect",
      "--format",
      "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
      containerName(place.project, "web"),
    );
    expect(found).toMatchObject({ state: "running", addresses: [address] });
  });

  test("without Docker it is 503, which says so", async () => {
    await using agent = await startTestListener({}, { containers: engine({ host: "unix:///nowhere" }) });
    const answer = await agent.get("/api/v1/logs/shop/web");
    expect(answer.status).toBe(503);
    expect(await answer.text()).toContain("no such socket");
  });

  describe.skipIf(!dockerHost.startsWith("unix:"))(
    "seen from Docker's side (needs Docker on a socket)",
    () => {
      test("a client that is gone closes Docker's stream at once", async () => {
        using way = watchedDocker();
        await using service = await serving("echo one; sleep 1000", way.host);
        await has(service, "one");
        await until("nothing is read", () => service.agent.listener.status().logs === 0);
        const path = `/api/v1/logs/${service.place.project}/web?follow=true`;
        let following = 0;
        const clients = Array.from({ length: 5 }, () => connect(service.agent.port, "127.0.0.1"));
        for (const client of clients) {
          client.on("data", (data) => (following += Number(data.includes("one"))));
          client.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
        }
        await until("five streams", () => following === 5, seconds(60));
        const streams = way.open();
        expect(streams).toBeGreaterThanOrEqual(5);
        for (const client of clients) client.destroy();
        await until("they are closed", () => way.open() <= streams - 5, seconds(20));
        expect(service.agent.listener.status().logs).toBe(0);
      });

      test("of a container that floods nothing more is read than its client reads", async () => {
        using way = watchedDocker();
        await using service = await serving("yes 0123456789abcdef0123456789abcdef0123456789abcdef", way.host);
        await has(service, "0123");
        const client = connect(service.agent.port, "127.0.0.1");
        client.pause();
        const path = `/api/v1/logs/${service.place.project}/web?follow=true`;
        client.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
        const start = way.bytes();
        const read = await settled(() => way.bytes() - start, seconds(2));
        // What lies in the sockets between; the log itself is tens of megabytes, and grows.
        expect(read).toBeLessThan(16 * 1_024 * 1_024);
        client.destroy();
      });
    },
  );
});

/** Docker's socket behind one that counts. */
function watchedDocker() {
  const directory = mkdtempSync(join(tmpdir(), "noderax-docker-"));
  const path = join(directory, "docker.sock");
  const sockets = new Set<Socket>();
  let bytes = 0;
  const server = createServer((client) => {
    const upstream = connect(dockerHost.replace(/^unix:\/\//, ""));
    sockets.add(client);
    upstream.on("data", (data) => (bytes += data.length));
    client.pipe(upstream).pipe(client);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
    client.on("close", () => sockets.delete(client));
  }).listen(path);
  return {
    host: `unix://${path}`,
    /** Connections to Docker. */
    open: () => sockets.size,
    /** That came from Docker. */
    bytes: () => bytes,
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
