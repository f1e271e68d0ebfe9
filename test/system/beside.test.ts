// Commands beside a running agent or sandbox find it, and never the wrong one.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { type Machine, enrolled, machine, startDev, startSandbox } from "../support/dev.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(20_000);

const QUICK = ["run", "--task-poll-interval", "500ms"];

/** Another directory of the machine, without a configuration. */
function elsewhere(host: Machine): { readonly cwd: string } {
  mkdirSync(host.at("elsewhere"), { recursive: true });
  return { cwd: host.at("elsewhere") };
}

test("status, task list, task logs and drain find a running dev from any directory", async () => {
  using host = machine();
  await using dev = await startDev(host);
  const id = await dev.order("demo-1", "echo found");
  await dev.sees(id, "success");
  const there = elsewhere(host);
  const status = await host.run(["status", "--json"], there);
  expect(JSON.parse(status.stdout)).toMatchObject({ pid: dev.process.pid, noderax: { api_url: dev.url } });
  expect(status.stderr).toMatch(/^The agent that runs with the state directory \S+noderax-dev-\S+:\n$/);
  expect((await host.run(["task", "list"], there)).stdout).toContain("echo found");
  expect((await host.run(["task", "logs", id], there)).stdout).toBe("found\n");
  expect((await host.run(["drain"], there)).code).toBe(0);
});

test("an agent is found from another directory, unless the one that is typed in has an agent of its own", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, "web-01");
  await using agent = host.start(QUICK);
  await agent.line(/started/);
  const there = elsewhere(host);
  const found = await host.run(["status", "--json"], there);
  expect(JSON.parse(found.stdout)).toMatchObject({ pid: agent.pid });
  // A configuration for another control plane means another agent.
  host.write("elsewhere/config.json", { api_url: "http://127.0.0.1:1" });
  const none = await host.run(["status"], there);
  expect(none.code).toBe(1);
  expect(none.stderr).toContain(`no agent runs with the state directory ${host.at("elsewhere/data")}`);
  host.write("elsewhere/config.json", { state_file: "./mine/id.json" });
  const mine = await host.run(["status"], there);
  expect(mine.stderr).toContain(`no agent runs with the state directory ${host.at("elsewhere/mine")}`);
});

test("of two agents and two sandboxes the person is asked which, with the flag that says it", async () => {
  using host = machine();
  await using one = await startDev(host);
  await using other = await startDev(host);
  const which = await host.run(["status"], elsewhere(host));
  expect(which.code).toBe(2);
  expect(which.stderr).toStartWith("error: you run 2 agents on this machine: choose one\n  --state-file /");
  const flags = [...which.stderr.matchAll(/--state-file (\S+)/g)].map(([, path = ""]) => path);
  const pids = await Promise.all(
    flags.map(async (path) => {
      const { stdout } = await host.run(["status", "--json", "--state-file", path]);
      return (JSON.parse(stdout) as { pid: number }).pid;
    }),
  );
  expect(new Set(pids)).toEqual(new Set([one.process.pid, other.process.pid]));

  const sandboxes = await host.run(["sandbox", "nodes"]);
  expect(sandboxes.code).toBe(2);
  expect(sandboxes.stderr).toStartWith("error: you run 2 sandboxes on this machine: choose one\n");
  for (const { url } of [one, other]) {
    expect(sandboxes.stderr).toContain(`  --url ${url} `);
    expect((await host.run(["sandbox", "nodes", "--url", url])).code).toBe(0);
  }
});

describe("a configuration file in another directory", () => {
  test("is made by enroll where it is missing, and ./data means beside it, for enroll, run and status", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    const { token } = (await sandbox.call("POST", "/node-installs", { node_name: "a" })) as { token: string };
    const config = { ...elsewhere(host), env: { NODERAX_CONFIG_FILE: host.at("conf/agent.json") } };
    const args = ["enroll", "--api-url", sandbox.url, "--hostname", "web-01", "--bootstrap-token", "-"];
    expect(await host.run(args, { ...config, stdin: token })).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(host.read("conf/agent.json"))).toEqual({ api_url: sandbox.url });
    expect(host.has("conf/data/agent_identity.json")).toBeTrue();
    expect(host.has("elsewhere/data")).toBeFalse();
    await using agent = host.start(QUICK, config);
    await agent.line(/started/);
    const { code, stdout } = await host.run(["status", "--json", "--config", host.at("conf/agent.json")]);
    expect([0, 6]).toContain(code);
    expect(JSON.parse(stdout)).toMatchObject({ pid: agent.pid });
  });

  test("and state that a Go agent left in the working directory is still used", async () => {
    using host = machine();
    mkdirSync(host.at("elsewhere/data"), { recursive: true });
    host.write("elsewhere/data/agent_identity.json", {});
    mkdirSync(host.at("conf"));
    host.write("conf/agent.json", { state_file: "./data/agent_identity.json" });
    const args = ["config", "show", "--json", "--config", host.at("conf/agent.json")];
    const { stdout } = await host.run(args, elsewhere(host));
    expect(JSON.parse(stdout)).toMatchObject({
      settings: { state_file: host.at("elsewhere/data/agent_identity.json") },
    });
  });
});
