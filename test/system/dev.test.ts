// Promises of `dev` and of the operator commands around it: one command, and there is a node to give tasks to.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { type Machine, machine, runs, startDev, until } from "../support/dev.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(150_000);

/** Nothing of a runtime to be found: neither node nor bun, no home, no settings. */
const BARE = { PATH: "/nonexistent" };

/** What is left in the machine's /tmp, directories without anything in them left out. */
const leftIn = (host: Machine): string[] =>
  readdirSync(host.at("tmp"), { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory() || entry.name.startsWith("noderax-dev-"))
    .map(({ name }) => name);

test("is ready with one line of JSON and nothing else, without any runtime on the machine", async () => {
  using host = machine();
  await using dev = await startDev(host, { env: BARE });
  expect(JSON.parse(dev.ready)).toEqual({
    url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    operator_token: expect.stringMatching(/^\S{16,}$/),
    node_name: "demo-1",
    docker: expect.objectContaining({ projects: expect.any(Boolean) }),
  });
  await dev.process.stop();
  const more: string[] = [];
  for await (const line of dev.process.lines) more.push(line);
  expect(more).toEqual([]);
  expect(dev.process.stderr()).toBe("");
  expect(readdirSync(host.at("work"))).toEqual([]);
});

describe("sandbox task", () => {
  test("--wait --json prints one document and says by its exit code whether the task succeeded", async () => {
    using host = machine();
    await using dev = await startDev(host, { env: BARE });
    const failed = await host.run(["sandbox", "task", "demo-1", "echo hi; exit 3", "--wait", "--json"]);
    expect(failed).toMatchObject({ code: 1, stderr: "" });
    expect(JSON.parse(failed.stdout)).toEqual({
      task_id: expect.any(String),
      status: "failed",
      exit_code: 3,
      output: "hi\n",
      log: "hi",
    });
    const good = await host.run(["sandbox", "task", "demo-1", "echo hi", "--wait", "--json"]);
    expect(good).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(good.stdout)).toMatchObject({ status: "success", exit_code: 0 });
    expect(dev.process.stderr()).toBe("");
  });

  test("shows a person the first row before the task has ended", async () => {
    using host = machine();
    await using dev = await startDev(host);
    const gate = host.at("work/gate");
    const script = `echo first; until [ -e ${gate} ] || [ ! -d ${host.path} ]; do sleep 0.1; done; echo last`;
    await using follower = host.start(["sandbox", "task", "demo-1", script]);
    await follower.line(/^first$/);
    const [task] = await dev.tasks();
    expect(task?.status).toBe("running");
    host.write("work/gate", "");
    await follower.line(/^last$/);
    await follower.line(/exit code 0 +success/);
    expect(await follower.exited).toBe(0);
  });

  test("finds its sandbox by flags, by the environment, and by itself", async () => {
    using host = machine();
    await using dev = await startDev(host);
    const nodes = ["sandbox", "nodes", "--json"];
    const elsewhere = { TMPDIR: host.at("work") };
    const { url, token } = dev;
    const ways = [
      await host.run(nodes),
      await host.run([...nodes, "--url", url, "--token", token], { env: elsewhere }),
      await host.run(nodes, {
        env: { ...elsewhere, NODERAX_SANDBOX_URL: url, NODERAX_SANDBOX_TOKEN: token },
      }),
    ];
    for (const { code, stdout, stderr } of ways) {
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(JSON.parse(stdout)).toMatchObject([
        { name: "demo-1", status: "online", id: expect.any(String) },
      ]);
    }
    expect(await host.run(nodes, { env: elsewhere })).toMatchObject({ code: 4, stdout: "" });
  });

  test("refuses a wrong operator token", async () => {
    using host = machine();
    await using dev = await startDev(host);
    const args = ["sandbox", "nodes", "--url", dev.url, "--token", "x".repeat(43)];
    const { code, stdout, stderr } = await host.run(args);
    expect({ code, stdout }).toEqual({ code: 5, stdout: "" });
    expect(stderr).toContain("operator token");
  });
});

describe.each([
  ["SIGINT", 130],
  ["SIGTERM", 0],
  ["SIGHUP", 0],
] as const)("%s", (signal, code) => {
  test("ends the running tasks, removes everything, and exits", async () => {
    using host = machine();
    await using dev = await startDev(host);
    const pidFile = host.at("work/pid");
    const id = await dev.order(
      "demo-1",
      `trap 'echo > ${host.at("work/asked")}' TERM; echo $$ > ${pidFile}; while :; do sleep 1; done`,
    );
    await dev.sees(id, "running");
    const pid = await until(
      "the task says its pid",
      () => host.has("work/pid") && Number(host.read("work/pid")),
    );
    expect(leftIn(host)).not.toEqual([]);
    dev.process.signal(signal);
    // Impatience changes nothing about it: the task, which ignores SIGTERM, has two seconds before it is killed.
    await until("the task is asked to end", () => host.has("work/asked"));
    dev.process.signal(signal);
    expect(await dev.process.exited).toBe(code);
    expect(runs(dev.process.pid)).toBeFalse();
    expect(runs(pid)).toBeFalse();
    expect(leftIn(host)).toEqual([]);
    expect(dev.process.stderr()).toBe("");
  });
});

test("two at once do not take each other's port, data or token", async () => {
  using one = machine();
  using other = machine();
  await using first = await startDev(one);
  await using second = await startDev(other);
  expect(second.url).not.toBe(first.url);
  const { code } = await one.run(["sandbox", "task", "demo-1", "true"]);
  expect(code).toBe(0);
  expect(await second.tasks()).toEqual([]);
});
