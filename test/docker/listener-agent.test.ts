// The agent's own HTTP server as a part of the whole agent: found through the server, health by the loops' truth, and trouble.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { AGENT_TIMEOUT } from "../../src/peer/agent-client.ts";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { logsPath } from "../../src/protocol/caravanserai/tunnel.ts";
import { BOX, boxRuns, boxService } from "../support/box.ts";
import { command } from "../support/command.ts";
import { IMAGE, missing } from "../support/docker.ts";
import { missingDaemon, startDaemon } from "../support/dockerd.ts";
import { ProjectNode } from "../support/project-node.ts";
import { tunnelClient } from "../support/tunnel-client.ts";
import { elapse, until } from "../support/until.ts";

/** As the kernel knows this process: "bun", "bun.exe". */
const ownName = readFileSync("/proc/self/comm", "utf8").trim();

setDefaultTimeout(minutes(4));

const PATIENCE = minutes(1);

const network = (node: ProjectNode): { ip?: string | undefined; agentPort?: number | undefined } =>
  node.sandbox.caraNodes().find(({ metadata }) => metadata.name === node.name)?.status.network ?? {};

/** Says "ready", and then what is written to /say. */
const TALKATIVE = "trap 'exit 0' TERM; echo ready; : >/say; busybox tail -f /say & wait";

describe.skipIf(missing !== undefined)("the agent's HTTP server (needs Docker)", () => {
  test("is listed by the server with its real port, through which `forward` finds the container", async () => {
    await using node = await ProjectNode.start();
    const port = await node.port();
    await until("the server knows the port", () => network(node).agentPort === port, PATIENCE);
    expect(network(node).ip).toBe("127.0.0.1");
    const shop = await boxRuns(node.project("shop", [await boxService(node)]).apply());
    await using local = command(["forward", `${shop.name}/box`, `0:${BOX.http}`, "--server", node.plane.url]);
    await local.says(`→ ${shop.name}/box:${BOX.http} on ${node.name}\n`);
    const own = /127\.0\.0\.1:(\d+) →/.exec(local.out())?.[1];
    expect(await (await fetch(`http://127.0.0.1:${own}/`)).text()).toBe("hello\n");
  });

  test("gives `logs -f` what a container writes from then on, and ends it with the container", async () => {
    await using node = await ProjectNode.start();
    const image = await node.image(TALKATIVE);
    const shop = await node
      .project("shop", [{ name: "web", image }])
      .apply()
      .becomes("Running");
    const port = await node.port();
    await until("the server knows the port", () => network(node).agentPort === port, PATIENCE);
    await using follower = command(["logs", `${shop.name}/web`, "-f", "--server", node.plane.url]);
    await follower.says("ready\n");
    for (const word of ["first", "second"]) {
      await shop.exec("web", "sh", "-c", `echo ${word} >>/say`);
      await follower.says(`${word}\n`);
    }
    await node.docker("restart", "--time", "0", `${shop.name}-web`);
    expect(await follower.ended()).toEqual({ code: 0, out: "ready\nfirst\nsecond\n", notes: "" });
    await shop.until("it runs again", async () => (await shop.container("web"))?.state === "running");
    await shop.until("both lives are in the log", async () => {
      const answer = await fetch(`http://127.0.0.1:${port}${logsPath(shop.name, "web")}`);
      return (await answer.text()) === "ready\nfirst\nsecond\nready\n";
    });
  });

  test("has nothing to follow of a stopped container, whose log can still be read", async () => {
    await using node = await ProjectNode.start({ settings: { restart_limit: 0 } });
    const shop = node.project("shop", [{ name: "job", image: await node.image("echo done; exit 0") }]);
    await shop.apply().becomes("Running");
    const agent = `127.0.0.1:${await node.port()}`;
    const read = await command(["logs", `${shop.name}/job`, "--node", agent]).ended();
    expect(read).toEqual({ code: 0, out: "done\n", notes: "" });
    const { code, out, notes } = await command(["logs", `${shop.name}/job`, "-f", "--node", agent]).ended();
    expect([code, out]).toEqual([1, ""]);
    expect(notes).toContain(`${shop.name}/job does not run (exited): nothing to follow`);
    const answer = await fetch(`http://${agent}${logsPath(shop.name, "job")}?follow=true`);
    expect(answer.status).toBe(409);
  });

  test("closes its tunnels and logs when the agent stops, and its containers run on", async () => {
    await using node = await ProjectNode.start({ settings: { proxy_listen_addr: "127.0.0.1:0" } });
    const shop = await boxRuns(node.project("shop", [await boxService(node)]).apply());
    const agent = { port: await node.port() };
    const ingress = await node.port("ingress");
    using flood = await tunnelClient(agent, BOX.flood, { name: `${shop.name}/box` });
    using idle = await tunnelClient(agent, BOX.echo, { name: `${shop.name}/box` });
    await using follower = command(["logs", `${shop.name}/box`, "-f", "--node", `127.0.0.1:${agent.port}`]);
    await follower.says("listening\n");
    await flood.has(1_000_000);
    const began = performance.now();
    await node.stops();
    // The grace of a stop in these tests is two seconds, and a closed server's another.
    expect(performance.now() - began).toBeLessThan(seconds(15));
    const stopped = { code: 1_001, reason: "agent stops" };
    expect(await Promise.all([flood.closed, idle.closed])).toEqual([stopped, stopped]);
    expect(await follower.ended()).toMatchObject({ code: 4, notes: expect.stringContaining("was lost") });
    for (const port of [agent.port, ingress])
      expect(await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => "refused")).toBe("refused");
    await shop.running("box");
  });

  test("answers root of this machine, and neither its other users nor a container, over any address", async () => {
    await using node = await ProjectNode.start();
    const port = await node.port();
    const shop = await boxRuns(node.project("shop", [await boxService(node)]).apply());
    const format = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}";
    const gateway = await node.docker("inspect", "--format", format, `${shop.name}-box`);
    const url = (address: string): string => `http://${address}:${port}${logsPath(shop.name, "box")}`;
    const ask = (address: string): string => `busybox wget -S -O /dev/null ${url(address)} 2>&1 || true`;
    const onTheHost = (user: string, address: string): Promise<string> =>
      node.docker("run", "--rm", "--network", "host", "--user", user, IMAGE, "sh", "-c", ask(address));
    const whyNot = async (): Promise<unknown> =>
      (await node.status()).caravanserai?.listener?.last_refusal?.why;
    expect(await shop.exec("box", "sh", "-c", ask(gateway))).toContain("403 Forbidden");
    expect(await whyNot()).toBe("address");
    for (const address of ["127.0.0.1", gateway]) {
      expect(await onTheHost("12345", address)).toContain("403 Forbidden");
      expect(await whyNot()).toBe("user");
      expect(await onTheHost("0", address)).toContain("200 OK");
    }
  });

  test("asks for a token that is set on this machine too, which `logs` has from the agent where it may", async () => {
    const listen_token = "correct-horse-battery";
    await using node = await ProjectNode.start({ settings: { listen_token } });
    const shop = await boxRuns(node.project("shop", [await boxService(node)]).apply());
    const asked = await fetch(`http://127.0.0.1:${await node.port()}${logsPath(shop.name, "box")}`);
    expect(asked.status).toBe(401);
    const configFile = join(node.directory, "elsewhere.json");
    writeFileSync(
      configFile,
      JSON.stringify({ state_file: join(node.directory, "state/agent_identity.json") }),
    );
    const { code, notes } = await command(["logs", `${shop.name}/box`, "--config", configFile]).ended();
    expect([code, notes]).toEqual([0, ""]);
  });

  test("does without a port that is taken, says so, and takes it when it is free", async () => {
    const squatter = createServer();
    await new Promise<void>((resolve) => void squatter.listen(0, "::", resolve));
    const place = squatter.address();
    const port = typeof place === "object" && place !== null ? place.port : 0;
    try {
      await using node = await ProjectNode.start({ settings: { listen_port: port } });
      const shop = node.project("shop", [{ name: "web" }]);
      await shop.apply().becomes("Running");
      await until(
        "the status tells the trouble",
        async () =>
          (await node.status()).caravanserai?.listener?.trouble ===
          `listen_port ${port}: port ${port} is in use by ${ownName} (pid ${process.pid})`,
        PATIENCE,
      );
      expect((await node.status()).caravanserai?.listener?.address).toBeNull();
      squatter.close();
      expect(await node.port()).toBe(port);
      expect((await node.status()).caravanserai?.listener?.trouble).toBeNull();
      expect(await (await fetch(`http://127.0.0.1:${port}/healthz`)).text()).toBe("OK");
    } finally {
      squatter.close();
    }
  });

  test.concurrent("waits with `logs -f` for the first word of a container that has not written one", async () => {
    await using node = await ProjectNode.start();
    const image = await node.image(TALKATIVE.replace("echo ready;", ""));
    const shop = await node
      .project("shop", [{ name: "web", image }])
      .apply()
      .becomes("Running");
    const agent = `127.0.0.1:${await node.port()}`;
    const reading = async (): Promise<number | undefined> =>
      (await node.status()).caravanserai?.listener?.logs;
    await using follower = command(["logs", `${shop.name}/web`, "-f", "--node", agent]);
    await until("it is being read", async () => (await reading()) === 1, PATIENCE);
    // An answer that has not begun is given up after half a minute, if it is not this one.
    await elapse(AGENT_TIMEOUT + seconds(2));
    await shop.exec("web", "sh", "-c", "echo at last >>/say");
    await follower.says("at last\n");
    follower.kill("SIGINT");
    expect(await follower.ended()).toEqual({ code: 130, out: "at last\n", notes: "" });
    await using impatient = command(["logs", `${shop.name}/web`, "-f", "--since", "0s", "--node", agent]);
    await until("it is being read", async () => (await reading()) === 1, PATIENCE);
    impatient.kill("SIGINT");
    expect(await impatient.ended()).toMatchObject({ code: 130, out: "" });
    await until("nothing is read any more", async () => (await reading()) === 0, PATIENCE);
  });

  // A daemon of its own, which can be stopped.
  test.concurrent.skipIf(missingDaemon !== undefined)(
    "is ready while all is well, not while Docker is away, and again when it is back; it is healthy throughout (needs dockerd, root)",
    async () => {
      await using daemon = await startDaemon();
      await using node = await ProjectNode.start({ host: daemon.host });
      const url = `http://127.0.0.1:${await node.port()}`;
      const ready = async (): Promise<number> => (await fetch(`${url}/readyz`)).status;
      const health = async (): Promise<string> => (await fetch(`${url}/healthz`)).text();
      await until("it is ready", async () => (await ready()) === 200, PATIENCE);
      await daemon.stop();
      // A daemon that merely restarts is no reason to be unready: half a minute without success is.
      await until("it is not ready", async () => (await ready()) === 503, minutes(2));
      const answer = (await (await fetch(`${url}/readyz`)).json()) as {
        loops: { name: string; stale: boolean }[];
      };
      expect(answer.loops.filter(({ stale }) => stale).map(({ name }) => name)).toContain("docker");
      expect(await health()).toBe("OK");
      await daemon.start();
      await until("it is ready again", async () => (await ready()) === 200, minutes(2));
      expect(await health()).toBe("OK");
    },
  );
});
