// What goes wrong with a project on a real Docker Engine: images, names, networks, strangers.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { IMAGE, docker, missing } from "../support/docker.ts";
import { ProjectNode } from "../support/project-node.ts";
import { basic, missingRegistry, startRegistry } from "../support/registry.ts";

setDefaultTimeout(minutes(4));

describe.skipIf(missing !== undefined)("names and networks (needs Docker)", () => {
  test.concurrent("two projects with a service of one name keep apart", async () => {
    await using node = await ProjectNode.start();
    const one = node.project("one", [{ name: "web", env: { OF: "one" } }, { name: "client" }]).apply();
    const two = node.project("two", [{ name: "web", env: { OF: "two" } }]).apply();
    await Promise.all([one.becomes("Running"), two.becomes("Running")]);
    expect((await one.running("web")).networks).toEqual([`cara-${one.name}`]);
    expect((await two.running("web")).networks).toEqual([`cara-${two.name}`]);
    const address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    const ours = await node.docker("container", "inspect", "--format", address, `${one.name}-web`);
    expect(await one.exec("client", "nslookup", "web")).toContain(ours);
    one.delete();
    await one.becomes("Terminated");
    await two.running("web");
  });

  test.concurrent("a second project that wants a container's name fails and says whose it is, until that one is gone", async () => {
    await using node = await ProjectNode.start();
    const first = await node
      .project("a", [{ name: "b-c" }])
      .apply()
      .becomes("Running");
    const before = await first.running("b-c");
    const second = await node
      .project("a-b", [{ name: "c" }])
      .apply()
      .becomes("Failed");
    expect(second.ready().message).toContain(`project ${first.name}`);
    expect(await first.running("b-c")).toEqual(before);
    second.delete();
    await second.isGone();
    expect(await first.running("b-c")).toEqual(before);
  });

  test.concurrent("a stranger that holds the name is left alone, and named in the failure", async () => {
    await using node = await ProjectNode.start();
    const shop = node.project("shop", [{ name: "web" }]);
    const id = await docker("run", "--detach", "--network", "none", "--name", `${shop.name}-web`, IMAGE);
    await shop.apply().becomes("Failed");
    expect(shop.ready().message).toContain("taken by");
    expect(shop.ready().message).toContain(id.slice(0, 12));
    shop.delete();
    await shop.isGone();
    expect((await shop.running("web")).id).toBe(id);
  });

  test.concurrent("a project whose network a stranger uses stays Terminating with Docker's words, and goes soon after it is free", async () => {
    await using node = await ProjectNode.start();
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    const name = `${shop.name}x-stranger`;
    await docker("run", "--detach", "--network", `cara-${shop.name}`, "--name", name, IMAGE);
    shop.delete();
    await shop.until("what keeps it is shown", () => shop.ready().reason === "RemoveError");
    expect(shop.phase()).toBe("Terminating");
    expect(shop.ready().message).toContain("has active endpoints");
    expect(await shop.remains()).toEqual([`cara-${shop.name}`]);
    await docker("rm", "--force", name);
    // Sooner than it would be tried again without an event of Docker's: after 30 s.
    await shop.becomes("Terminated", seconds(25));
    expect(await shop.remains()).toEqual([]);
  });

  test.concurrent("what the other agent made is taken over as it runs", async () => {
    await using node = await ProjectNode.start();
    const shop = node.project(
      "shop",
      [{ name: "web", env: { A: "1" }, mounts: { data: "/data" } }],
      ["data"],
    );
    const { name } = shop;
    const label = `cara.project=${name}`;
    await docker("network", "create", "--label", label, `cara-${name}`);
    await docker("volume", "create", "--label", label, `cara-${name}-data`);
    const labels = ["--label", label, "--label", "cara.service=web"];
    const network = ["--network", `cara-${name}`, "--network-alias", "web"];
    const rest = ["--env", "A=1", "--volume", `cara-${name}-data:/data`, "--name", `${name}-web`, IMAGE];
    const id = await docker("run", "--detach", ...labels, ...network, ...rest);
    const before = await shop.running("web");
    expect(before.id).toBe(id);
    await shop.apply().becomes("Running");
    expect(await shop.running("web")).toEqual(before);
  });

  test.concurrent("a paused container goes on", async () => {
    await using node = await ProjectNode.start();
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    const { id } = await shop.running("web");
    await docker("pause", id);
    await shop.until("it runs again", async () => (await shop.container("web"))?.state === "running");
    expect((await shop.running("web")).id).toBe(id);
  });

  test.concurrent("a container that somebody has removed is made again", async () => {
    await using node = await ProjectNode.start();
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    await docker("rm", "--force", `${shop.name}-web`);
    await shop.until("it runs again", async () => (await shop.container("web"))?.state === "running");
    expect(shop.reports().every(({ phase }) => phase === "Running")).toBe(true);
  });

  test.concurrent("a network that somebody has removed is made again, and the running container put on it", async () => {
    await using node = await ProjectNode.start();
    const shop = await node
      .project("shop", [{ name: "web" }, { name: "db" }])
      .apply()
      .becomes("Running");
    const { startedAt } = await shop.running("web");
    const network = `cara-${shop.name}`;
    const old = await docker("network", "inspect", "--format", "{{.Id}}", network);
    await docker("network", "disconnect", "--force", network, `${shop.name}-web`);
    await docker("network", "disconnect", "--force", network, `${shop.name}-db`);
    await docker("network", "rm", old).catch(() => {});
    await shop.until("both are on it again", async () => {
      const both = await Promise.all([shop.container("web"), shop.container("db")]);
      return both.every((one) => one?.networks.includes(network));
    });
    expect((await shop.running("web")).startedAt).toBe(startedAt);
    expect(await shop.exec("web", "nslookup", "db")).toMatch(/Address.*10\.\d+\.\d+\.\d+/);
  });
});

describe.skipIf(missing !== undefined || missingRegistry !== undefined)(
  "images (needs Docker and docker-registry)",
  () => {
    test.concurrent("one that does not exist fails the project in the registry's words, and its neighbour runs", async () => {
      await using registry = await startRegistry();
      await using node = await ProjectNode.start();
      const image = `${registry.host}/nothing:1`;
      const shop = node.project("shop", [{ name: "web", image }, { name: "db" }]);
      await shop.apply().becomes("Failed");
      expect(shop.ready().reason).toBe("ReconcileError");
      expect(shop.ready().message).toContain("web: ");
      expect(shop.ready().message).toMatch(/manifest unknown|not found/);
      await shop.running("db");
      expect(await shop.container("web")).toBeUndefined();
    });

    test.concurrent("a private one is pulled with the login of the agent's user, and refused in words without", async () => {
      const login = { username: "agent", password: "correct horse" };
      await using registry = await startRegistry(login);
      const image = await registry.push("private:1");
      const config = mkdtempSync(join(tmpdir(), "noderax-login-"));
      try {
        const auths = { [registry.host]: { auth: basic(login) } };
        writeFileSync(join(config, "config.json"), JSON.stringify({ auths }));
        {
          await using node = await ProjectNode.start({ process: true, env: { DOCKER_CONFIG: tmpdir() } });
          const shop = await node
            .project("shop", [{ name: "web", image }])
            .apply()
            .becomes("Failed");
          expect(shop.ready().message).toMatch(/unauthorized|no basic auth credentials/);
        }
        await using node = await ProjectNode.start({ process: true, env: { DOCKER_CONFIG: config } });
        const shop = await node
          .project("shop", [{ name: "web", image }])
          .apply()
          .becomes("Running");
        await shop.running("web");
        expect(node.log.join("\n")).not.toContain(basic(login));
      } finally {
        rmSync(config, { recursive: true });
      }
    });

    test("a slow one holds up neither the heartbeats nor another project", async () => {
      await using registry = await startRegistry();
      const image = await registry.push("slow:1", 3_000_000);
      registry.fault = "trickle";
      await using node = await ProjectNode.start({
        sandbox: { timings: { nodeSilence: seconds(2) } },
        settings: { heartbeat_interval: "300ms" },
      });
      const slow = node.project("slow", [{ name: "web", image }]).apply();
      await slow.until(
        "it is being pulled",
        () => node.agent.status().caravanserai?.projects[0]?.state === "waiting",
      );
      const beats: string[] = [];
      const watch = setInterval(() => {
        const beat = node.sandbox.caraNode(node.name).status.lastHeartbeat;
        if (beats.at(-1) !== beat) beats.push(beat);
      }, 20);
      try {
        const quick = node.project("quick", [{ name: "web" }]).apply();
        await quick.becomes("Running");
        expect(slow.phase()).toBe("Scheduled");
        await slow.becomes("Running", seconds(30));
      } finally {
        clearInterval(watch);
      }
      expect(beats.length).toBeGreaterThan(5);
      const gaps = beats.slice(1).map((at, index) => Date.parse(at) - Date.parse(beats[index] ?? at));
      expect(Math.max(...gaps)).toBeLessThan(1_300);
    });

    test.concurrent("an update to one that does not exist leaves the running container and its data as they are", async () => {
      await using registry = await startRegistry();
      await using node = await ProjectNode.start();
      const web = { name: "web", mounts: { data: "/data" } };
      const shop = await node.project("shop", [web], ["data"]).apply().becomes("Running");
      const before = await shop.running("web");
      await shop.exec("web", "sh", "-c", "echo kept >/data/file");
      shop.with([{ ...web, image: `${registry.host}/nothing:2` }]).apply({ force: true });
      await shop.becomes("Failed");
      expect(await shop.running("web")).toEqual(before);
      expect(await shop.exec("web", "cat", "/data/file")).toBe("kept");
    });
  },
);
