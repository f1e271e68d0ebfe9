// Promises of `run`: tasks outlive the agent, one agent a node, and what is secret stays where it belongs.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, readFileSync, readdirSync } from "node:fs";
import { type Machine, type Operator, enrolled, machine, runs, startSandbox, until } from "../support/dev.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(150_000);

/** A stop waits for the claim under way: short ones here. */
// Commands print the pids by which they are found, as the machine counts them.
const QUICK = ["run", "--task-poll-interval", "500ms", "--task-isolation", "off"];

/** A command that says "begun" to a file, waits for another file, and ends with some output. */
function gated(host: Machine) {
  const [begun, gate] = [host.at("work/begun"), host.at("work/gate")];
  // Tasks of a root agent run as somebody else.
  host.write("work/begun", "");
  chmodSync(begun, 0o666);
  return {
    command: `echo before; echo $$ >> ${begun}; until [ -e ${gate} ] || [ ! -d ${host.path} ]; do sleep 0.05; done; echo after`,
    pids: () => host.read("work/begun").split("\n").filter(Boolean).map(Number),
    begins: () => until("the task begins", () => host.read("work/begun") !== ""),
    open: () => {
      host.write("work/gate", "");
      chmodSync(gate, 0o644);
    },
  };
}

async function ended(operator: Operator, id: string) {
  const { status, output } = await operator.sees(id, "success", "failed", "timeout", "cancelled");
  return { status, output };
}

describe("a task that runs", () => {
  test("outlives a killed agent, and the next one brings its whole output and its end", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const gate = gated(host);
    const killed = host.start(QUICK);
    const id = await sandbox.order("web-01", gate.command);
    await gate.begins();
    // Not `stop`, which would kill the task along with its agent.
    killed.signal("SIGKILL");
    expect(await killed.exited).toBe(137);
    const [pid = 0] = gate.pids();
    expect(runs(pid)).toBeTrue();
    await using next = host.start(QUICK);
    await next.line(/resumed/);
    gate.open();
    expect(await ended(sandbox, id)).toEqual({ status: "success", output: "before\nafter\n" });
    expect(await sandbox.log(id)).toBe("before\nafter");
    expect(gate.pids()).toEqual([pid]);
  });

  test("goes on while the agent is stopped, and is reported by the next one", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const gate = gated(host);
    const first = host.start(QUICK);
    const id = await sandbox.order("web-01", gate.command);
    await gate.begins();
    first.signal("SIGTERM");
    expect(await first.exited).toBe(0);
    const [pid = 0] = gate.pids();
    expect(runs(pid)).toBeTrue();
    gate.open();
    await until("the task ends by itself", () => !runs(pid));
    expect(await sandbox.task(id)).toMatchObject({ status: "running" });
    await using second = host.start(QUICK);
    expect(await ended(sandbox, id)).toEqual({ status: "success", output: "before\nafter\n" });
    expect(second.stderr()).toBe("");
  });
});

test("SIGTERM ends an idle agent within two seconds although the control plane holds its claim for longer", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, "web-01");
  await using agent = host.start(["run", "--task-poll-interval", "30s"]);
  await until("it is online", async () => (await host.run(["status"])).code === 0);
  const asked = performance.now();
  agent.signal("SIGTERM");
  expect(await agent.exited).toBe(0);
  // On a machine that is five times slower.
  expect(performance.now() - asked).toBeLessThan(10_000);
});

test("without a configuration it exits with 3 and says three ways on", async () => {
  using host = machine();
  expect(await host.run(["run"])).toEqual({
    code: 3,
    stdout: "",
    stderr:
      "error: neither api_url nor server_url is set: this machine is not connected to a control plane\n" +
      "  Enroll it:            noderax-agent enroll\n" +
      "  Or run containers:    noderax-agent config set server_url http://cara.example.com:8080\n" +
      "  Or try it here:       noderax-agent dev\n",
  });
});

test("without an identity it waits for one, reports that, and works once the machine is enrolled", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await using agent = host.start([...QUICK, "--api-url", sandbox.url]);
  await agent.line(/not enrolled/);
  const status = await host.run(["status"]);
  expect(status.code).toBe(3);
  expect(status.stdout).toContain("enroll with  noderax-agent enroll");
  await enrolled(host, sandbox, "web-01");
  const id = await sandbox.order("web-01", "echo at work");
  expect(await ended(sandbox, id)).toEqual({ status: "success", output: "at work\n" });
});

test("a second agent with the same state directory is refused and does not disturb the first", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, "web-01");
  await using first = host.start(QUICK);
  await first.line(/started/);
  const second = await host.run(QUICK);
  expect(second.code).toBe(1);
  expect(second.stderr).toStartWith(
    `error: an agent with this state directory runs already (pid ${first.pid})\n`,
  );
  expect((await host.run(["status"])).code).toBe(0);
});

test("an agent that was killed leaves nothing that keeps the next one from starting", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, "web-01");
  const killed = host.start(QUICK);
  await killed.line(/started/);
  killed.signal("SIGKILL");
  await killed.exited;
  const { code, stderr } = await host.run(["status"]);
  expect(code).toBe(1);
  expect(stderr).toContain("no agent runs with the state directory");
  await using next = host.start(QUICK);
  await next.line(/started/);
  expect((await host.run(["status"])).code).toBe(0);
});

test("goes on without readers of its log", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, "web-01");
  // `head` takes the first line and leaves: everything the agent logs from then on meets a closed pipe.
  const { binary } = await import("../support/binary.ts");
  const line = `${binary} ${QUICK.join(" ")} --log-level debug | head -n 1`;
  await using shell = host.start(["-c", line], { file: "/bin/sh" });
  await shell.line(/^\{/);
  for (const text of ["one", "two"]) {
    const id = await sandbox.order("web-01", `echo ${text}`);
    expect(await ended(sandbox, id)).toEqual({ status: "success", output: `${text}\n` });
  }
});

describe("secrets", () => {
  const PAYLOAD = "payload-5ecret-value";
  const STRAY = "stray-5ecret-value";

  test("nothing of the agent's environment reaches a task, and no secret any command line or log", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const identity = JSON.parse(host.read("work/data/agent_identity.json")) as Record<string, string>;
    const { node_id = "", agent_token = "" } = identity;
    // The identity comes from the environment here, as in a container.
    const inherited = {
      BUN_FOO: STRAY,
      NODE_OPTIONS: "",
      NODE_ID: node_id,
      AGENT_TOKEN: agent_token,
      SECRET: STRAY,
      API_URL: sandbox.url,
    };
    await using agent = host.start([...QUICK, "--state-file", "other/id.json", "--log-level", "debug"], {
      env: inherited,
    });
    const gate = gated(host);
    const environment = { PASSWORD: PAYLOAD };
    const id = await sandbox.order("web-01", `env; ${gate.command}`, { environment });
    await gate.begins();

    const processes = familyOf(agent.pid, `TASK_ID=${id}`);
    expect(processes.length).toBeGreaterThan(1);
    for (const { pid, commandLine, environ } of processes) {
      for (const secret of [agent_token, PAYLOAD, STRAY]) expect(commandLine).not.toContain(secret);
      if (pid !== agent.pid) for (const secret of [agent_token, STRAY]) expect(environ).not.toContain(secret);
    }
    gate.open();
    const { output } = await ended(sandbox, id);
    const names = (output ?? "").split("\n").map((line) => line.split("=")[0]);
    expect(output).toContain(`PASSWORD=${PAYLOAD}\n`);
    for (const name of [...Object.keys(inherited), "TMPDIR"]) expect(names).not.toContain(name);
    expect(names.filter((name) => name?.startsWith("BUN_") || name?.startsWith("NODERAX_"))).toEqual([]);

    agent.signal("SIGTERM");
    expect(await agent.exited).toBe(0);
    let written = agent.stderr();
    for await (const line of agent.lines) written += `${line}\n`;
    expect(written).toContain(id);
    for (const secret of [agent_token, PAYLOAD, STRAY]) expect(written).not.toContain(secret);
  });

  test("a bootstrap token in a file or on stdin is in no command line and no output", async () => {
    using host = machine();
    // A control plane that does not answer, so that there is time to check.
    using deaf = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Promise<Response>(() => {}) });
    const url = deaf.url.origin;
    const file = host.write("token", STRAY);
    await using asking = host.start(["enroll", "--api-url", url, "--bootstrap-token-file", file]);
    await until("it asks", () => deaf.pendingRequests > 0);
    expect(readFileSync(`/proc/${asking.pid}/cmdline`, "latin1")).not.toContain(STRAY);
    asking.signal("SIGINT");
    expect(await asking.exited).toBe(130);
    expect(asking.stderr()).not.toContain(STRAY);
  });

  test("a secret in the configuration is shown by no command", async () => {
    using host = machine();
    host.write("work/config.json", { api_url: "http://127.0.0.1:1", node_id: "n", agent_token: STRAY });
    for (const args of [
      ["config", "show"],
      ["config", "show", "--sources"],
      ["config", "show", "--json"],
    ]) {
      const { code, stdout, stderr } = await host.run(args);
      expect(code).toBe(0);
      expect(stdout + stderr).not.toContain(STRAY);
    }
    const { stderr } = await host.run(["config", "set", "agent_token", "a\nb"]);
    expect(stderr).not.toContain("a\nb");
  });
});

interface Member {
  readonly pid: number;
  readonly commandLine: string;
  readonly environ: string;
}

/** A process and everything that carries the cookie in its environment, or is a shell of the same run directory. */
function familyOf(pid: number, cookie: string): Member[] {
  const id = cookie.split("=")[1] ?? "";
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const read = (file: string): string => readFileSync(`/proc/${name}/${file}`, "latin1");
        return [{ pid: Number(name), commandLine: read("cmdline"), environ: read("environ") }];
      } catch {
        return [];
      }
    })
    .filter((one) => one.pid === pid || one.environ.includes(cookie) || one.commandLine.includes(id));
}
