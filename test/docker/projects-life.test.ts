// The life of a project on a real Docker Engine, as its operator sees it: up, changed, crashed, gone.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { missing } from "../support/docker.ts";
import { ProjectNode } from "../support/project-node.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(minutes(4));

describe.skipIf(missing !== undefined)("a project (needs Docker)", () => {
  test("comes up with its names, labels, environment, volume and aliases, and is reported Running", async () => {
    await using node = await ProjectNode.start();
    const shop = node.project(
      "shop",
      [{ name: "web", env: { GREETING: "hello" }, mounts: { data: "/data" } }, { name: "db" }],
      ["data"],
    );
    await shop.apply().becomes("Running");
    expect(shop.reports()).toMatchObject([{ phase: "Running", reason: "ContainersRunning" }]);
    expect(shop.ready()).toMatchObject({ reason: "ContainersRunning" });
    const { name } = shop;
    expect(await shop.remains()).toEqual([`cara-${name}`, `cara-${name}-data`, `${name}-db`, `${name}-web`]);
    const web = await shop.running("web");
    expect(web.labels).toMatchObject({ "cara.project": name, "cara.service": "web" });
    expect(web.env).toContain("GREETING=hello");
    expect(web.networks).toEqual([`cara-${name}`]);
    await shop.exec("web", "sh", "-c", "echo kept >/data/file");
    expect(await shop.exec("web", "nslookup", "db")).toMatch(/Address.*10\.\d+\.\d+\.\d+/);
  });

  test("brings a killed container back when Docker tells of its end, without a report", async () => {
    await using node = await ProjectNode.start({ settings: { project_resync_interval: "1h" } });
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    const before = await shop.running("web");
    await node.docker("kill", before.id);
    await shop.until("it runs again", async () => (await shop.container("web"))?.state === "running");
    expect((await shop.running("web")).startedAt).not.toBe(before.startedAt);
    expect(shop.reports()).toHaveLength(1);
  });

  test.concurrent("whose job ends well has run it once, also when the agent is restarted", async () => {
    await using node = await ProjectNode.start();
    const image = await node.image("exit 0");
    const shop = node.project("shop", [{ name: "job", image }, { name: "web" }]);
    await shop.apply().becomes("Running");
    await shop.until("the job is done", () => shop.ready().message.endsWith("; completed: job"));
    const before = await shop.container("job");
    await node.stops();
    await node.docker("kill", `${shop.name}-web`);
    await node.starts();
    await shop.until("web runs again", async () => (await shop.container("web"))?.state === "running");
    expect(await shop.container("job")).toEqual(before);
    expect(shop.phase()).toBe("Running");
  });

  test.concurrent("whose container ends well is Failed with ContainerExited where the ingress leads to it", async () => {
    await using node = await ProjectNode.start({ settings: { restart_limit: 0 } });
    const shop = node.project("shop", [{ name: "web", image: await node.image("exit 0") }]);
    await shop.at("web", "web", 80).apply().becomes("Failed");
    expect(shop.ready()).toMatchObject({ reason: "ContainerExited" });
    expect(shop.ready().message).toContain("web(exit=0");
  });

  test.concurrent("whose container ends well because somebody stopped it is started again", async () => {
    await using node = await ProjectNode.start();
    const image = await node.image("trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done");
    const shop = await node
      .project("shop", [{ name: "web", image }])
      .apply()
      .becomes("Running");
    const before = await shop.running("web");
    await shop.until("it obeys", async () => (await node.docker("logs", before.id)) === "ready");
    await node.docker("stop", before.id);
    await shop.until("it runs again", async () => {
      const now = await shop.container("web");
      return now?.state === "running" && now.startedAt !== before.startedAt;
    });
  });

  test.concurrent("that is changed while it runs gets the changed service anew, and keeps the other and the data", async () => {
    await using node = await ProjectNode.start();
    const web = { name: "web", mounts: { data: "/data" } };
    const shop = await node
      .project("shop", [web, { name: "db" }], ["data"])
      .apply()
      .becomes("Running");
    await shop.exec("web", "sh", "-c", "echo kept >/data/file");
    const before = { web: await shop.running("web"), db: await shop.running("db") };
    const after = shop.with([{ ...web, env: { VERSION: "2" } }, { name: "db" }]).apply({ force: true });
    await after.until("the new web runs", async () => {
      const now = await after.container("web");
      return now?.state === "running" && now.env.includes("VERSION=2");
    });
    await after.until("the old one is gone", async () => (await after.remains()).length === 4);
    expect(await after.exec("web", "cat", "/data/file")).toBe("kept");
    expect((await after.running("web")).id).not.toBe(before.web.id);
    expect(await after.running("db")).toEqual(before.db);
    expect(after.phase()).toBe("Running");
  });

  test.concurrent("that is deleted goes with its volume, and is Terminated", async () => {
    await using node = await ProjectNode.start();
    const shop = node.project("shop", [{ name: "web", mounts: { data: "/data" } }], ["data"]);
    await shop.apply().becomes("Running");
    shop.delete();
    expect(shop.phase()).toBe("Terminating");
    await shop.becomes("Terminated");
    expect(shop.reports().at(-1)).toMatchObject({ phase: "Terminated", reason: "ResourcesRemoved" });
    expect(await shop.remains()).toEqual([]);
  });

  test.concurrent("half of which somebody has removed already is deleted all the same", async () => {
    await using node = await ProjectNode.start();
    const shop = node.project("shop", [{ name: "web" }, { name: "db", mounts: { data: "/data" } }], ["data"]);
    await shop.apply().becomes("Running");
    await node.stops();
    await node.docker("rm", "--force", `${shop.name}-web`, `${shop.name}-db`);
    await node.docker("volume", "rm", `cara-${shop.name}-data`);
    shop.delete();
    await node.starts();
    await shop.becomes("Terminated");
    expect(await shop.remains()).toEqual([]);
  });

  test.concurrent("whose container exits at once is restarted after 1, 2 and 4 s, and Failed with code and last words", async () => {
    await using node = await ProjectNode.start({ settings: { restart_limit: 3 } });
    const image = await node.image("echo opening the database; echo no such table >&2; exit 7");
    const shop = node.project("shop", [{ name: "web", image }, { name: "db" }]);
    const label = `label=cara.project=${shop.name}`;
    // As they come: Docker keeps the last 256 alone, of all containers.
    const filters = ["--filter", label, "--filter", "label=cara.service=web"];
    const format = ["--format", "{{.Action}} {{.TimeNano}}"];
    const since = String(Math.floor(Date.now() / 1_000));
    await using watching = Bun.spawn(["docker", "events", "--since", since, ...filters, ...format]);
    let events = "";
    const heard = (async () => {
      for await (const chunk of watching.stdout) events += Buffer.from(chunk).toString();
    })();
    await shop.apply().becomes("Failed");
    // Never as running in between.
    expect(shop.reports().map(({ phase }) => phase)).toEqual(["Failed"]);
    const report = shop.reports().at(-1);
    expect(report).toMatchObject({ phase: "Failed", reason: "ContainerCrashed" });
    expect(report?.message).toContain("web(exit=7");
    // In which order the two arrive is Docker's affair.
    expect(report?.message).toContain("opening the database");
    expect(report?.message).toContain("no such table");
    const times = (action: string): number[] =>
      events
        .split("\n")
        .filter((line) => line.startsWith(`${action} `))
        .map((line) => Number(line.split(" ")[1]) / 1e9);
    await until("the last end was heard", () => times("die").length >= 4);
    watching.kill();
    await heard;
    const [starts, ends] = [times("start"), times("die")];
    const pauses = starts.slice(1).map((at, index) => at - (ends[index] ?? 0));
    expect(pauses).toHaveLength(3);
    [1, 2, 4].forEach((pause, index) => {
      expect(pauses[index]).toBeGreaterThan(pause - 0.2);
      expect(pauses[index]).toBeLessThan(pause + 10); // On a machine with better things to do.
    });
    await shop.running("db");
  });

  test.concurrent("that has Failed is mended by a new spec, and its data are still there", async () => {
    await using node = await ProjectNode.start({ settings: { restart_limit: 1 } });
    const mounts = { data: "/data" };
    const broken = await node.image("echo kept >/data/file; exit 1");
    const shop = node.project("shop", [{ name: "web", image: broken, mounts }], ["data"]);
    await shop.apply().becomes("Failed");
    const mended = shop.with([{ name: "web", mounts }]).apply();
    await mended.becomes("Running");
    expect(await mended.exec("web", "cat", "/data/file")).toBe("kept");
  });

  test.concurrent("whose new version does not start runs on in the old one, and is Failed with the reason", async () => {
    await using node = await ProjectNode.start();
    const broken = await node.image("echo cannot; exit 9");
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Running");
    const before = await shop.running("web");
    shop.with([{ name: "web", image: broken }]).apply({ force: true });
    await shop.becomes("Failed");
    expect(shop.ready().message).toMatch(/new version does not start.*exit=9.*cannot/);
    await shop.until("the old one runs again", async () => {
      const now = await shop.container("web");
      return now?.id === before.id && now.state === "running";
    });
    await shop.until("nothing of the new one is left", async () => (await shop.remains()).length === 2);
  });

  test.concurrent("whose container ignores SIGTERM is deleted after ten seconds", async () => {
    await using node = await ProjectNode.start();
    const image = await node.image("trap '' TERM; echo deaf; while :; do sleep 1; done");
    const shop = await node
      .project("shop", [{ name: "web", image }])
      .apply()
      .becomes("Running");
    const { id } = await shop.running("web");
    await shop.until("it is deaf", async () => (await node.docker("logs", id)) === "deaf");
    const asked = performance.now();
    shop.delete();
    await shop.becomes("Terminated");
    expect(performance.now() - asked).toBeGreaterThan(seconds(9));
    expect(await shop.remains()).toEqual([]);
  });
});
