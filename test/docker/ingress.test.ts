// The ingress to real containers, through the whole agent: from a project's rules to what a client of a host name sees.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { BOX, boxRuns, boxService } from "../support/box.ts";
import { IMAGE, missing } from "../support/docker.ts";
import { type ProjectHandle, ProjectNode, type Service } from "../support/project-node.ts";
import { elapse } from "../support/until.ts";

setDefaultTimeout(minutes(4));

describe.skipIf(missing !== undefined)("the ingress (needs Docker)", () => {
  let node: ProjectNode;
  let box: Service;
  let port: number;
  beforeAll(async () => {
    node = await ProjectNode.start({ process: true, settings: { proxy_listen_addr: "127.0.0.1:0" } });
    box = await boxService(node);
    port = await node.port("ingress");
  }, minutes(3));
  afterAll(() => node[Symbol.asyncDispose](), minutes(2));

  const greeting = (text: string): Service => ({ ...box, env: { ...box.env, GREETING: text } });

  interface Answer {
    readonly status: number;
    readonly text: string;
  }
  async function get(host: string, path = "/"): Promise<Answer> {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { host }, keepalive: false });
    return { status: answer.status, text: await answer.text() };
  }
  const answers = (project: ProjectHandle, host: string, wanted: Partial<Answer>): Promise<void> =>
    project.until(`${host} answers ${JSON.stringify(wanted)}`, async () => {
      // A request that meets the exchange of a container may be cut.
      const answer = await get(host).catch(() => undefined);
      return (
        answer?.status === (wanted.status ?? 200) &&
        (wanted.text === undefined || answer.text === wanted.text)
      );
    });

  /** A project "shop-1" with one box, whose host is "web". */
  async function serving(name: string, text: string): Promise<{ project: ProjectHandle; host: string }> {
    const project = node
      .project(name, [greeting(text)])
      .at("web", "box", BOX.http)
      .apply();
    await boxRuns(project);
    return { project, host: `web.${project.name}.local` };
  }

  test("leads each host to its project's container, and no other host anywhere", async () => {
    const own = `${node.prefix}.example.com`;
    const one = await serving("one", "I am one");
    const two = node
      .project("two", [greeting("I am two")])
      .at("web", "box", BOX.http)
      .at(own, "box", BOX.http);
    await boxRuns(two.apply());
    await answers(one.project, one.host, { text: "I am one\n" });
    await answers(two, `web.${two.name}.local`, { text: "I am two\n" });
    expect(await get(own)).toEqual({ status: 200, text: "I am two\n" });
    expect(await get(`${one.host.toUpperCase()}:8081`)).toEqual({ status: 200, text: "I am one\n" });
    for (const host of ["web", `web.${node.prefix}.local`, one.project.name, "127.0.0.1", `x.${own}`])
      expect((await get(host)).status).toBe(502);
  });

  test("tells the container which host was asked for, and by whom", async () => {
    const { project, host } = await serving("headers", "");
    await answers(project, host, {});
    const { text } = await get(host, "/cgi-bin/environment?a=b");
    expect(text).toContain(`HTTP_HOST=${host}\n`);
    expect(text).toContain("HTTP_X_FORWARDED_FOR=127.0.0.1\n");
    expect(text).toContain(`HTTP_X_FORWARDED_HOST=${host}\n`);
    expect(text).toContain("HTTP_X_FORWARDED_PROTO=http\n");
    expect(text).toContain("QUERY_STRING=a=b\n");
  });

  test("carries a WebSocket to a container and back", async () => {
    const project = node.project("socket", [box]).at("live", "box", BOX.websocket).apply();
    await boxRuns(project);
    const script = new URL("../support/ws-client.mjs", import.meta.url).pathname;
    const headers = { host: `live.${project.name}.local` };
    const talk = async (): Promise<Record<string, unknown>> => {
      const task = { url: `ws://127.0.0.1:${port}/`, headers, send: 100, frame: 50, close: "when echoed" };
      const child = Bun.spawn(["node", script, JSON.stringify(task)], { stderr: "inherit" });
      return JSON.parse(await child.stdout.text()) as Record<string, unknown>;
    };
    let seen: Record<string, unknown> = {};
    await project.until("the route is there", async () => (seen = await talk())["refusal"] === null);
    expect(seen).toMatchObject({ received: 100, heard: seen["sent"], code: 1_000 });
  });

  test("follows a container that comes back under another address", async () => {
    const { project, host } = await serving("moved", "still here");
    await answers(project, host, { text: "still here\n" });
    const before = await project.running("box");
    // The agent sees nothing until another container has taken the address.
    process.kill(node.pid, "SIGSTOP");
    try {
      await node.docker("kill", before.id);
      const label = ["--label", `noderax.test=${node.prefix}`];
      const place = ["--name", `${node.prefix}-squatter`, "--network", `cara-${project.name}`];
      await node.docker("run", "--detach", ...place, ...label, IMAGE);
    } finally {
      process.kill(node.pid, "SIGCONT");
    }
    await boxRuns(project);
    expect((await project.running("box")).address).not.toBe(before.address);
    await answers(project, host, { text: "still here\n" });
    await node.docker("rm", "--force", `${node.prefix}-squatter`);
  });

  test("follows a container over `docker restart` and `docker kill`", async () => {
    const { project, host } = await serving("again", "back again");
    await answers(project, host, { text: "back again\n" });
    await node.docker("restart", "--time", "0", `${project.name}-box`);
    await boxRuns(project);
    await answers(project, host, { text: "back again\n" });
    await node.docker("kill", `${project.name}-box`);
    await project.until("it is down", async () => (await project.container("box"))?.state !== "running");
    await boxRuns(project);
    await answers(project, host, { text: "back again\n" });
  });

  test("answers 502 for a project whose container does not stay", async () => {
    const image = await node.image("exit 1");
    const project = node
      .project("ending", [{ name: "job", image }])
      .at("web", "job", BOX.http)
      .apply();
    const failed = async (): Promise<number> => (await node.status()).caravanserai?.ingress?.failed ?? 0;
    await project.until("it has ended", async () => (await project.container("job"))?.state === "exited");
    const before = await failed();
    await project.until("it is known to be the host of a container that is away", async () => {
      expect((await get(`web.${project.name}.local`)).status).toBe(502);
      return (await failed()) > before;
    });
    project.delete();
    await project.becomes("Terminated");
  });

  test("leads to the new version after a project was changed", async () => {
    const { project, host } = await serving("changed", "first");
    await answers(project, host, { text: "first\n" });
    project.with([greeting("second")]).apply({ force: true });
    await answers(project, host, { text: "second\n" });
  });

  test("leads to the old version while the image of the new one cannot be pulled, which is shown within seconds", async () => {
    const { project, host } = await serving("unpulled", "still the old one");
    const before = await project.running("box");
    const image = "127.0.0.1:1/nothing:2";
    project.with([{ ...greeting("new"), image }]).apply({ force: true });
    await project.until("it is shown", () => project.ready().message.includes("pull failed"), seconds(20));
    expect(project.phase()).toBe("Running");
    await answers(project, host, { text: "still the old one\n" });
    await node.docker("kill", before.id);
    await project.until("it runs again", async () => {
      const now = await project.container("box");
      return now?.state === "running" && now.startedAt !== before.startedAt;
    });
    await answers(project, host, { text: "still the old one\n" });
    expect((await project.running("box")).id).toBe(before.id);
  });

  test("forgets a host whose project is deleted, with a page that tells nothing", async () => {
    const { project, host } = await serving("deleted", "soon gone");
    await answers(project, host, { text: "soon gone\n" });
    project.delete();
    await project.becomes("Terminated");
    await answers(project, host, { status: 502 });
    const { text } = await get(host);
    expect(text).toStartWith("<!doctype html>");
    expect(text).not.toContain(project.name);
    const routes = (await node.status()).caravanserai?.ingress?.routes;
    expect(routes).toBe(
      node.sandbox
        .projects()
        .flatMap(({ spec, status }) => (status.phase === "Running" ? (spec.ingress ?? []) : [])).length,
    );
  });

  test("streams what is larger than any buffer, as fast as the client reads", async () => {
    const { project, host } = await serving("large", "");
    await answers(project, host, {});
    await project.exec("box", "dd", "if=/dev/zero", "of=/www/large", "bs=1048576", "count=64");
    const answer = await fetch(`http://127.0.0.1:${port}/large`, { headers: { host } });
    let received = 0;
    for await (const chunk of answer.body ?? []) {
      if (received === 0) await elapse(seconds(1));
      received += chunk.length;
    }
    expect(received).toBe(64 * 1024 * 1024);
  });
});
