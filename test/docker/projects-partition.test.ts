// Server, node and other agents on the same Docker: who is away, who has forgotten whom, and what stays untouched.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { databasePath } from "../../src/agent/agent.ts";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { BOX, boxRuns, boxService } from "../support/box.ts";
import { IMAGE, missing } from "../support/docker.ts";
import { type Container, type ProjectHandle, ProjectNode } from "../support/project-node.ts";
import { elapse, eventually } from "../support/until.ts";

setDefaultTimeout(minutes(4));

/** Six heartbeats: a busy machine may deliver one late. */
const HEARTBEATS = { nodeSilence: seconds(3) };

describe.skipIf(missing !== undefined)("a node and its server (needs Docker)", () => {
  test.concurrent("while the server is away nothing is removed; what was deleted meanwhile goes when it is back", async () => {
    await using node = await ProjectNode.start();
    const [kept, deleted] = [
      node.project("kept", [{ name: "web" }]),
      node.project("deleted", [{ name: "web" }]),
    ];
    await Promise.all([kept.apply().becomes("Running"), deleted.apply().becomes("Running")]);
    const before = await kept.running("web");
    deleted.delete({ force: true });
    await node.plane.goesAway();
    await node.orphanRounds(20); // Five times the grace.
    await deleted.running("web");
    await node.plane.comesBack();
    await deleted.isGone();
    expect(await kept.running("web")).toEqual(before);
    expect(kept.phase()).toBe("Running");
  });

  test.concurrent("a server that is away for longer than its last list counts: what crashes is started again, and nothing moves", async () => {
    await using node = await ProjectNode.start();
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    await node.plane.goesAway();
    const before = await shop.running("web");
    await elapse(seconds(6));
    await node.docker("kill", before.id);
    await shop.until("it runs again", async () => {
      const now = await shop.container("web");
      return now?.state === "running" && now.startedAt !== before.startedAt;
    });
    // Reports wait for a list of the last ten seconds.
    await elapse(seconds(6));
    const { startedAt } = await shop.running("web");
    await node.plane.comesBack();
    await shop.until(
      "the node is Ready, and it runs",
      () => node.sandbox.caraNode(node.name).status.state === "Ready" && shop.phase() === "Running",
    );
    await node.orphanRounds(10);
    expect(await shop.running("web")).toMatchObject({ id: before.id, startedAt });
    expect(shop.reports()).toHaveLength(1);
  });

  test.concurrent("a database that is lost while the server is away costs no container its supervision and no route", async () => {
    await using node = await ProjectNode.start({ settings: { proxy_listen_addr: "127.0.0.1:0" } });
    const shop = node
      .project("shop", [await boxService(node)])
      .at("web", "box", BOX.http)
      .apply();
    await boxRuns(shop);
    await node.plane.goesAway();
    await node.stops();
    const state = join(node.directory, "state");
    for (const suffix of ["-wal", "-shm"]) rmSync(`${databasePath(state)}${suffix}`, { force: true });
    writeFileSync(databasePath(state), "\0".repeat(8_192));
    const before = await shop.running("box");
    await node.starts();
    expect((await node.status()).warnings.join()).toContain("state.db is damaged");
    const port = await node.port("ingress");
    const serves = (): Promise<boolean> =>
      fetch(`http://127.0.0.1:${port}/`, { headers: { host: `web.${shop.name}.local` }, keepalive: false })
        .then(async (answer) => answer.ok && (await answer.text()) === "hello\n")
        .catch(() => false);
    await shop.until("it is routed", serves);
    expect(await shop.running("box")).toMatchObject({ id: before.id, startedAt: before.startedAt });
    await node.docker("kill", before.id);
    await shop.until("it runs again and is routed", async () => {
      const now = await shop.container("box");
      return now?.state === "running" && now.startedAt !== before.startedAt && (await serves());
    });
  });

  test.concurrent("what happened while the server was away is reported when it is back, and the heartbeats go on", async () => {
    await using node = await ProjectNode.start({
      settings: { restart_limit: 0 },
      sandbox: { timings: HEARTBEATS },
    });
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    await node.plane.goesAway();
    await node.docker("kill", (await shop.running("web")).id);
    await elapse(HEARTBEATS.nodeSilence + seconds(1));
    await node.plane.comesBack();
    await shop.becomes("Failed");
    expect(shop.reports().filter(({ phase }) => phase === "Failed")).toHaveLength(1);
    expect(shop.ready().reason).toBe("ContainerCrashed");
    await shop.until("the node is Ready", () => node.sandbox.caraNode(node.name).status.state === "Ready");
  });

  test.concurrent("a project that is deleted by force is removed after the grace, and its volume stays", async () => {
    await using node = await ProjectNode.start({ settings: { orphan_grace: "1500ms" } });
    const shop = node.project("shop", [{ name: "web", mounts: { data: "/data" } }], ["data"]);
    await shop.apply().becomes("Running");
    shop.delete({ force: true });
    const due = await eventually(
      "its removal is planned",
      () =>
        node.agent.status().caravanserai?.orphans.find(({ name }) => name === shop.name)?.due ?? undefined,
    );
    const volume = `cara-${shop.name}-data`;
    await shop.until("its volume is left", async () => (await shop.remains()).join() === volume);
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(due));
    await shop.until(
      "it is named",
      () =>
        node.agent.status().caravanserai?.orphans.some(({ volumes }) => volumes.join() === volume) === true,
    );
  });

  test.concurrent("a server that comes back on an empty database costs no project its containers or data", async () => {
    await using node = await ProjectNode.start();
    const shop = node.project("shop", [{ name: "web", mounts: { data: "/data" } }], ["data"]);
    await shop.apply().becomes("Running");
    await shop.exec("web", "sh", "-c", "echo precious > /data/file");
    const first = await shop.running("web");
    await node.plane.comesBack({ data: join(node.directory, "empty") });
    await shop.until("the node has registered again", () =>
      node.sandbox.caraNodes().some(({ metadata }) => metadata.name === node.name),
    );
    await shop.until(
      "it is kept",
      () =>
        node.agent
          .status()
          .caravanserai?.orphans.some(({ name, verdict }) => name === shop.name && verdict === "kept") ===
        true,
    );
    await node.docker("kill", first.id);
    await shop.until("it is supervised as before", async () => {
      const now = await shop.container("web");
      return now?.state === "running" && now.startedAt !== first.startedAt;
    });
    const before = await shop.running("web");
    await node.stops();
    await node.starts();
    await node.orphanRounds(20); // Five times the grace, in another run of the agent.
    expect(await shop.running("web")).toEqual(before);
    // Applied again, it is taken over as it is; deleted, it goes with its data.
    await shop.apply().becomes("Running");
    expect(await shop.running("web")).toEqual(before);
    expect(await shop.exec("web", "cat", "/data/file")).toContain("precious");
    shop.delete();
    await shop.isGone();
  });

  test.concurrent("a project that has Failed keeps its other containers, and goes with them when it is deleted", async () => {
    await using node = await ProjectNode.start({ settings: { restart_limit: 0 } });
    const image = await node.image("exit 1");
    const shop = node.project("shop", [{ name: "web", image }, { name: "db" }]);
    await shop.apply().becomes("Failed");
    await node.orphanRounds(10);
    await shop.running("db");
    shop.delete();
    await shop.isGone();
  });

  test.concurrent("a node that is deleted on the server registers again and keeps its projects", async () => {
    await using node = await ProjectNode.start();
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    const before = await shop.running("web");
    node.sandbox.deleteCaraNode(node.name);
    await shop.until("it is there again", () =>
      node.sandbox
        .caraNodes()
        .some(({ metadata, status }) => metadata.name === node.name && status.state === "Ready"),
    );
    expect(await shop.running("web")).toEqual(before);
  });

  test.concurrent("a node is Ready at once, and truthful about itself", async () => {
    await using node = await ProjectNode.start({
      settings: { heartbeat_interval: "30s", listen_port: 9099 },
    });
    const { status } = node.sandbox.caraNode(node.name);
    expect(status.state).toBe("Ready");
    expect(status.network).toMatchObject({ ip: "127.0.0.1", agentPort: 9099 });
    expect(status.capacity?.["cpu"]).toMatch(/^\d+m$/);
    expect(status.capacity?.["memory"]).toMatch(/^\d+(Ki|Mi|Gi)?$/);
    expect(status.allocatable?.["disk"]).toMatch(/^\d+(Ki|Mi|Gi)?$/);
  });
});

describe.skipIf(missing !== undefined)("two agents on one Docker (needs Docker)", () => {
  test.concurrent("leave each other's projects alone when neither server knows the other's", async () => {
    await using one = await ProjectNode.start();
    await using two = await ProjectNode.start();
    const [mine, theirs] = [one.project("shop", [{ name: "web" }]), two.project("shop", [{ name: "web" }])];
    await Promise.all([mine.apply().becomes("Running"), theirs.apply().becomes("Running")]);
    const before = [await mine.running("web"), await theirs.running("web")];
    const keeps = (node: ProjectNode, name: string): boolean =>
      node.agent.status().caravanserai?.orphans.some((o) => o.name === name && o.verdict === "kept") === true;
    await mine.until(
      "each has asked its server after the other's",
      () => keeps(one, theirs.name) && keeps(two, mine.name),
    );
    await Promise.all([one.orphanRounds(10), two.orphanRounds(10)]);
    expect([await mine.running("web"), await theirs.running("web")]).toEqual(before);
  });

  test.concurrent("leave a project alone that was theirs, and after its end was made anew by the other", async () => {
    await using one = await ProjectNode.start();
    const mine = await one
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    mine.delete({ force: true });
    await mine.isGone();
    await mine.until("it is forgotten", () => !one.remembers(mine.name));
    await byStranger(mine);
    const before = await mine.running("web");
    await one.orphanRounds(20);
    expect(await mine.running("web")).toEqual(before);
  });

  test.concurrent("a restarted agent removes what was its own and deleted while it was down", async () => {
    await using node = await ProjectNode.start();
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    await node.stops();
    shop.delete({ force: true });
    await node.starts();
    await shop.isGone();
  });

  test.concurrent("a partitioned node gives up what the server has moved meanwhile, once it is back", async () => {
    await using node = await ProjectNode.start({
      sandbox: { timings: { ...HEARTBEATS, rescheduleGrace: seconds(1) } },
    });
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    await node.stops();
    const before = shop.reports().length;
    using _other = phantom(node, "node-9");
    await shop.until("it is given to node-9", () => shop.resource()?.status.nodeRef === "node-9");
    await shop.running("web");
    await node.starts();
    await shop.isGone();
    expect(shop.resource()?.status.nodeRef).toBe("node-9");
    expect(shop.reports()).toHaveLength(before);
  });

  test.concurrent("what only carries our labels is never removed, nor its volumes, whatever becomes of the project", async () => {
    await using node = await ProjectNode.start();
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    const image = await node.docker("commit", `${shop.name}-web`, `${shop.name}-copy`);
    try {
      // A copy with all labels of ours, under a name of its own; and one of a service that there is not.
      const run = ["run", "--detach", "--network", "none", "--volume", "/scratch"];
      const copy = await node.docker(...run, "--name", `${shop.name}-copy`, image);
      await byStranger(node.project("gone", []));
      shop.delete();
      await shop.until(
        "the copy alone is left",
        async () => (await shop.remains()).join() === `${shop.name}-copy`,
      );
      await shop.until("both are shown", () => {
        // Containers of other tests are on the list, too.
        const ours = (node.agent.status().caravanserai?.orphans ?? []).filter(({ name }) =>
          name.startsWith(`${node.prefix}-`),
        );
        return ours.filter(({ reason }) => reason === "not on record as made here").length === 2;
      });
      await node.orphanRounds(10);
      const running = "{{.State.Running}} {{len .Mounts}}";
      expect(await node.docker("inspect", "--format", running, copy)).toBe("true 1");
      expect(await node.docker("inspect", "--format", "{{.State.Running}}", `${node.prefix}-gone-web`)).toBe(
        "true",
      );
      expect(node.log.join()).toContain(`${shop.name}: removed container`);
    } finally {
      await node.docker("rm", "--force", "--volumes", `${shop.name}-copy`);
      await node.docker("rmi", "--force", image);
    }
  });

  test.concurrent("a copy that has the name of a service fails the project, and is neither taken over nor removed", async () => {
    await using node = await ProjectNode.start();
    const shop = node.project("shop", [{ name: "web", mounts: { data: "/data" } }], ["data"]);
    await byStranger(shop);
    const before = await shop.running("web");
    await shop.apply().becomes("Failed");
    expect(shop.ready().message).toContain("is not ours");
    shop.delete();
    await node.orphanRounds(10);
    expect(await shop.running("web")).toEqual(before);
  });

  test.concurrent("an agent that lost its state knows its containers again by their shape, and removes them with the project", async () => {
    await using node = await ProjectNode.start();
    const shop = node.project("shop", [{ name: "web", mounts: { data: "/data" } }], ["data"]);
    await shop.apply().becomes("Running");
    const before = await shop.running("web");
    await node.stops();
    rmSync(join(node.directory, "state"), { recursive: true });
    await node.starts();
    await shop.until("it is taken over", () => node.log.join().includes(`${shop.name}-web is taken over`));
    expect(await shop.running("web")).toEqual(before);
    shop.delete();
    await shop.isGone();
  });
});

describe.skipIf(missing !== undefined)("two nodes of one server on one Docker (needs Docker)", () => {
  test("say on everything whose it is, and leave each other's projects alone, deleted ones too", async () => {
    await using one = await ProjectNode.start();
    const mine = one.project("mine", [{ name: "web", mounts: { data: "/data" } }], ["data"]).apply();
    await mine.becomes("Running");
    one.sandbox.setUnschedulable(one.name, true);
    await using two = await ProjectNode.start({ name: "node-2", beside: one });
    const theirs = await two
      .project("theirs", [{ name: "web" }])
      .apply()
      .becomes("Running");
    expect(theirs.resource()?.status.nodeRef).toBe("node-2");
    const before = [await mine.running("web"), await theirs.running("web")];
    expect(before.map(({ labels }) => labels["cara.node"])).toEqual(["node-1", "node-2"]);
    const label = '{{index .Labels "cara.node"}}';
    expect([
      await one.docker("network", "inspect", "--format", label, `cara-${mine.name}`),
      await one.docker("volume", "inspect", "--format", label, `cara-${mine.name}-data`),
    ]).toEqual(["node-1", "node-1"]);
    await mine.until(
      "each knows the other's",
      () => keeps(one, theirs, "node-2") && keeps(two, mine, "node-1"),
    );
    await Promise.all([one.orphanRounds(10), two.orphanRounds(10)]);
    expect([await mine.running("web"), await theirs.running("web")]).toEqual(before);

    // While its own agent is down the other one does not take it away, even when the server knows it no more.
    await one.stops();
    mine.delete({ force: true });
    await two.orphanRounds(10);
    expect(await mine.running("web")).toEqual(before[0] as Container);
    await one.starts();
    await mine.until(
      "its data alone is left",
      async () => (await mine.remains()).join() === `cara-${mine.name}-data`,
    );
    expect(await theirs.running("web")).toEqual(before[1] as Container);
  });

  test("take over what the server has moved from one to the other, as it runs", async () => {
    await using one = await ProjectNode.start({
      sandbox: { timings: { ...HEARTBEATS, rescheduleGrace: seconds(1) } },
    });
    const shop = await one
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    const before = await shop.running("web");
    await using two = await ProjectNode.start({ name: "node-2", beside: one });
    await shop.until("the other one knows of it", () => keeps(two, shop, "node-1"));
    await one.stops();
    await shop.until("it is given to node-2", () => shop.resource()?.status.nodeRef === "node-2");
    await shop.becomes("Running");
    expect(await shop.running("web")).toEqual(before);
  });
});

const keeps = (node: ProjectNode, { name }: ProjectHandle, of: string): boolean =>
  node.agent
    .status()
    .caravanserai?.orphans.some(
      (one) => one.name === name && one.verdict === "kept" && one.reason === `belongs to node ${of}`,
    ) === true;

/** Another node, which is only a name here, and Ready. */
function phantom({ plane, sandbox }: ProjectNode, name: string): Disposable {
  const beat = (): Promise<Response> =>
    fetch(`${plane.url}/api/v1/nodes/${name}/heartbeat`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ state: "Ready" }),
    });
  sandbox.applyCaraNode({
    apiVersion: "caravanserai/v1",
    kind: "Node",
    metadata: { name },
    spec: { hostname: name },
  });
  const beating = setInterval(() => void beat().catch(() => {}), 200);
  return { [Symbol.dispose]: () => clearInterval(beating) };
}

/** A container of this project with the labels of both agents, that neither of ours has made. */
async function byStranger({ node, name }: ProjectHandle): Promise<void> {
  const labels = ["--label", `cara.project=${name}`, "--label", "cara.service=web"];
  await node.docker("run", "--detach", "--network", "none", "--name", `${name}-web`, ...labels, IMAGE);
}
