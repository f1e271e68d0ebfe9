// The agent killed at any moment, Docker restarted in the middle of the work, and many projects at once.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { IMAGE, docker, dockerIn, missing, testImage } from "../support/docker.ts";
import { type Daemon, missingDaemon, startDaemon } from "../support/dockerd.ts";
import { type ProjectHandle, ProjectNode } from "../support/project-node.ts";
import { elapse } from "../support/until.ts";

setDefaultTimeout(minutes(5));

const LONG = seconds(60);
const WEB = { name: "web", mounts: { data: "/data" } };

/** What there is when all is well, and nothing besides. */
const complete = ({ name, services, volumes }: ProjectHandle): string[] =>
  [
    `cara-${name}`,
    ...volumes.map((volume) => `cara-${name}-${volume}`),
    ...services.map((service) => `${name}-${service.name}`),
  ].sort();

async function isWhole(project: ProjectHandle): Promise<void> {
  const holds = async (): Promise<boolean> => {
    const remains = await project.remains();
    if (remains.join() !== complete(project).join()) return false;
    const all = await Promise.all(project.services.map(({ name }) => project.container(name)));
    return all.every((one) => one?.state === "running");
  };
  await project.until("it is there as it should be, and nothing besides", holds, LONG);
}

describe.skipIf(missing !== undefined)("an agent that is killed (needs Docker)", () => {
  test.concurrent("while a project comes up goes on from where it was", async () => {
    await using node = await ProjectNode.start({ process: true });
    for (const [index, after] of [150, 500].entries()) {
      const shop = node.project(`up-${index}`, [WEB, { name: "db" }], ["data"]).apply();
      await elapse(after * (0.8 + 0.4 * Math.random()));
      await node.dies();
      await node.starts();
      await shop.becomes("Running");
      await isWhole(shop);
    }
  });

  test.concurrent("while a service is replaced ends with the new one alone, and its data", async () => {
    await using node = await ProjectNode.start({ process: true });
    let shop = await node.project("shop", [WEB], ["data"]).apply().becomes("Running");
    await shop.exec("web", "sh", "-c", "echo kept >/data/file");
    for (const [index, after] of [200, 700, 1_500].entries()) {
      shop = shop.with([{ ...WEB, env: { VERSION: String(index) } }]).apply({ force: true });
      await elapse(after * (0.8 + 0.4 * Math.random()));
      await node.dies();
      await node.starts();
      await shop.until(
        `version ${index} runs`,
        async () => (await shop.container("web"))?.env.includes(`VERSION=${index}`) === true,
      );
      await isWhole(shop);
      expect(await shop.exec("web", "cat", "/data/file")).toBe("kept");
    }
    expect(shop.phase()).toBe("Running");
  });

  test.concurrent("while a project is removed finishes that", async () => {
    await using node = await ProjectNode.start({ process: true });
    for (const [index, after] of [120, 300].entries()) {
      const shop = node.project(`down-${index}`, [WEB, { name: "db" }], ["data"]);
      await shop.apply().becomes("Running");
      shop.delete();
      await elapse(after * (0.8 + 0.4 * Math.random()));
      await node.dies();
      await node.starts();
      await shop.becomes("Terminated");
      expect(await shop.remains()).toEqual([]);
    }
  });

  test.concurrent("eighteen times, at moments of chance in up, change and away, ends each time with what the server wants", async () => {
    await using node = await ProjectNode.start({ process: true });
    /** Kills it at a moment of chance within what follows, and again soon after it is back. */
    const diesThrice = async (): Promise<void> => {
      for (const within of [1_200, 900, 600]) {
        await elapse(within * Math.random());
        await node.dies();
        await node.starts();
      }
    };
    for (let round = 0; round < 2; round++) {
      let shop = node.project(`shop-${round}`, [WEB, { name: "db" }], ["data"]).apply();
      await diesThrice();
      await shop.becomes("Running", LONG);
      await isWhole(shop);
      await shop.exec("web", "sh", "-c", "echo kept >/data/file");

      shop = shop.with([{ ...WEB, env: { VERSION: "2" } }, { name: "db" }]).apply({ force: true });
      await diesThrice();
      const isNew = async (): Promise<boolean> =>
        (await shop.container("web"))?.env.includes("VERSION=2") === true;
      await shop.until("the new version runs", isNew, LONG);
      await isWhole(shop);
      expect(await shop.exec("web", "cat", "/data/file")).toBe("kept");
      expect(shop.reports().map(({ phase }) => phase)).not.toContain("Failed");

      shop.delete();
      await diesThrice();
      await shop.becomes("Terminated", LONG);
      expect(await shop.remains()).toEqual([]);
    }
  });

  test.concurrent("leaves its containers running, and does not restart them when it is back", async () => {
    await using node = await ProjectNode.start({ process: true });
    const shop = await node.project("shop", [WEB], ["data"]).apply().becomes("Running");
    const before = await shop.running("web");
    await node.dies();
    expect(await shop.running("web")).toEqual(before);
    await node.starts();
    await shop.until("it has heard of the server", () => node.log.join().includes("shop: running"));
    expect(await shop.running("web")).toEqual(before);
    expect(shop.reports()).toHaveLength(1);
  });
});

describe.skipIf(missing !== undefined)("many projects (needs Docker)", () => {
  test("fifty at once come up, with a report each and heartbeats on time, and go again", async () => {
    await using node = await ProjectNode.start({
      sandbox: { timings: { nodeSilence: seconds(3) } },
      settings: { heartbeat_interval: "500ms" },
    });
    const projects = Array.from({ length: 50 }, (_, n) => node.project(`p${n}`, [{ name: "web" }]));
    for (const project of projects) project.apply();
    for (const project of projects) await project.becomes("Running", minutes(2));
    for (const project of projects) {
      expect(project.reports()).toHaveLength(1);
      await project.running("web");
    }
    expect(node.sandbox.caraNode(node.name).status.state).toBe("Ready");
    for (const project of projects) project.delete();
    for (const project of projects) await project.becomes("Terminated", minutes(2));
    expect((await docker("ps", "--all", "--format", "{{.Names}}")).includes(node.prefix)).toBe(false);
  });
});

describe.skipIf(missing !== undefined || missingDaemon !== undefined)(
  "Docker that is restarted (needs dockerd, root)",
  () => {
    let daemon: Daemon;
    beforeAll(async () => {
      daemon = await startDaemon();
      await testImage();
      const archive = `/tmp/noderax-image-${process.pid}.tar`;
      await docker("save", "--output", archive, IMAGE);
      await dockerIn({ DOCKER_HOST: daemon.host }, "load", "--input", archive);
      await Bun.file(archive).delete();
    }, seconds(60));
    afterAll(() => daemon[Symbol.asyncDispose](), seconds(60));

    test("in the middle of the work is waited for: nothing fails, and all comes up", async () => {
      await using node = await ProjectNode.start({
        host: daemon.host,
        sandbox: { timings: { nodeSilence: seconds(2) } },
      });
      const states = new Set<string>();
      const watch = setInterval(() => states.add(node.sandbox.caraNode(node.name).status.state), 50);
      const projects = Array.from({ length: 3 }, (_, n) =>
        node.project(`p${n}`, [WEB, { name: "db" }], ["data"]),
      );
      try {
        for (const project of projects) project.apply();
        await projects[0]?.until(
          "the first containers are made",
          async () => (await daemon.docker("ps", "--quiet")).split("\n").length >= 3,
        );
        await daemon.kill();
        await projects[0]?.until(
          "the agent says so",
          () => node.agent.status().caravanserai?.docker.trouble !== null,
        );
        await daemon.start();
        for (const project of projects) {
          await project.becomes("Running", seconds(60));
          await isWhole(project);
          expect(project.reports().map(({ phase }) => phase)).not.toContain("Failed");
        }
        expect([...states]).toEqual(["Ready"]);

        // An orderly restart ends the containers; they come back without a failure. A step that Docker refuses while it
        // starts may be shown beside the phase.
        await daemon.stop();
        await daemon.start();
        for (const project of projects) await isWhole(project);
        for (const project of projects) {
          expect(project.reports().map(({ phase }) => phase)).not.toContain("Failed");
          expect(project.reports().at(-1)?.phase).toBe("Running");
        }
        for (const project of projects) project.delete();
        for (const project of projects) await project.becomes("Terminated", seconds(60));
      } finally {
        clearInterval(watch);
      }
    });
  },
);
