// `status`, `task list` and `task logs` answer from the node itself, also while the control plane is unreachable.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync } from "node:fs";
import { seconds } from "../../src/lib/duration.ts";
import { enrolled, machine, startSandbox, until } from "../support/dev.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(150_000);

const QUICK = ["run", "--task-poll-interval", "500ms"];

describe("status", () => {
  test("tells a person and a program the same, with exit 0 while all is well", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    await using agent = host.start(QUICK);
    const id = await sandbox.order("web-01", "sleep 60");
    await sandbox.sees(id, "running");
    const words = await until("status is well", async () => {
      const result = await host.run(["status"]);
      return result.code === 0 && result.stdout.includes("running") && result;
    });
    expect(words.stderr).toBe("");
    expect(words.stdout).toMatch(/^noderax-agent \S+ · pid \d+ · up \d+s · \d+ MB$/m);
    expect(words.stdout).toMatch(/^noderax +accepted +http:\/\/127\.0\.0\.1:\d+$/m);
    expect(words.stdout).toMatch(/^ +tasks +1 at work · outbox empty$/m);
    expect(words.stdout).toMatch(new RegExp(`^ +${id.slice(0, 8)} +\\d+s +shell\\.exec +running$`, "m"));
    const document = await host.run(["status", "--json"]);
    expect(document).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(document.stdout)).toMatchObject({
      pid: agent.pid,
      noderax: { api_url: sandbox.url, standing: "ok", tasks: [{ id }], outbox: { waiting: 0 } },
    });
    await sandbox.call("POST", `/tasks/${id}/cancel`, {});
    await sandbox.sees(id, "cancelled");
  });

  test("exits with 6 while the control plane is unreachable, and says what it waits for", async () => {
    using host = machine();
    const sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    await using agent = host.start(QUICK);
    await until("all is well", async () => (await host.run(["status"])).code === 0);
    await sandbox.process.stop();
    const ill = await until("it is noticed", async () => {
      const result = await host.run(["status"]);
      return result.code === 6 && result;
    });
    expect(ill.stdout).toMatch(/^ {2}claim +no answer: cannot reach .+ · failed \d+×$/m);
    expect(agent.stderr()).toBe("");
  });
});

describe("task", () => {
  test("list and logs answer from the node's own copy, without control plane and agent", async () => {
    using host = machine();
    const sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const agent = host.start(QUICK);
    const id = await sandbox.order(
      "web-01",
      "echo out; sleep 0.1; echo err >&2; sleep 0.1; echo more; exit 7",
    );
    await sandbox.sees(id, "failed");
    await agent.stop();
    await sandbox.process.stop();

    const list = await host.run(["task", "list"]);
    expect(list).toMatchObject({ code: 0, stderr: "" });
    expect(list.stdout).toMatch(/^TASK +STATUS +EXIT +CLAIMED +WHAT$/m);
    expect(list.stdout).toMatch(
      new RegExp(`^${id.slice(0, 8)} +failed +7 +\\d+s ago +echo out; sleep 0\\.1`, "m"),
    );
    expect(JSON.parse((await host.run(["task", "list", "--json"])).stdout)).toMatchObject([
      { id, status: "failed", exit_code: 7, phase: "finished" },
    ]);
    const logs = async (...more: string[]) => {
      const { code, stdout, stderr } = await host.run(["task", "logs", id.slice(0, 4), ...more]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      return stdout;
    };
    expect(await logs()).toBe("out\nerr\nmore\n");
    expect(await logs("--stream", "stdout")).toBe("out\nmore\n");
    expect(await logs("--stream=stderr")).toBe("err\n");
    expect(await logs("-f")).toBe("out\nerr\nmore\n");
  });

  test("logs -f shows output as it comes and ends with the task", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    await using agent = host.start(QUICK);
    const gate = host.at("work/gate");
    const id = await sandbox.order(
      "web-01",
      `echo first; until [ -e ${gate} ] || [ ! -d ${host.path} ]; do sleep 0.05; done; echo last`,
    );
    await sandbox.sees(id, "running");
    await until("it has begun", async () => (await host.run(["task", "logs", id])).stdout === "first\n");
    await using follower = host.start(["task", "logs", id, "-f"]);
    await follower.line(/^first$/);
    host.write("work/gate", "");
    chmodSync(gate, 0o644);
    await follower.line(/^last$/);
    expect(await follower.exited).toBe(0);
    expect(agent.stderr()).toBe("");
  });

  test("logs of an unknown task, and of an ambiguous id, fail with the reason", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    await using _agent = host.start(QUICK);
    // 17 ids of 16 possible first digits.
    const ids = await Promise.all(Array.from({ length: 17 }, () => sandbox.order("web-01", "true")));
    for (const id of ids) await sandbox.sees(id, "success");
    const [twice = ""] = ids.map(([first = ""]) => first).filter((first, i, all) => all.indexOf(first) < i);
    const ambiguous = await host.run(["task", "logs", twice]);
    expect(ambiguous.code).not.toBe(0);
    expect(ambiguous.stderr).toStartWith(`error: more than one task begins with "${twice}"\n`);
    const unknown = await host.run(["task", "logs", "nope"]);
    expect(unknown).toMatchObject({ code: 1, stdout: "" });
    expect(unknown.stderr).toBe(
      'error: no task of this node begins with "nope"\n  See:  noderax-agent task list\n',
    );
  });

  test("list --limit takes a number and nothing else", async () => {
    using host = machine();
    const { code, stderr } = await host.run(["task", "list", "--limit", "abc"]);
    expect(code).toBe(2);
    expect(stderr).toContain('--limit: "abc" is not a number');
  });
});

test(
  "200 tasks at once all end, each after it has run once",
  async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const file = host.write("work/ran", "");
    chmodSync(file, 0o666);
    await using agent = host.start(QUICK);
    const orders = Array.from({ length: 200 }, () =>
      sandbox.order("web-01", `echo $TASK_ID | tee -a ${file}`),
    );
    const ids = await Promise.all(orders);
    const done = await until(
      "all have ended",
      async () => {
        const tasks = await sandbox.tasks();
        return tasks.every(({ status }) => !["queued", "accepted", "running"].includes(status)) && tasks;
      },
      seconds(80),
    );
    expect(done.filter(({ status }) => status !== "success")).toEqual([]);
    expect(done.filter(({ id, output }) => output !== `${id}\n`)).toEqual([]);
    expect(host.read("work/ran").split("\n").filter(Boolean).toSorted()).toEqual(ids.toSorted());
    expect(agent.stderr()).toBe("");
  },
  seconds(100),
);

describe("task explain", () => {
  const TASK = {
    type: "shell.exec",
    payload: { command: "touch /tmp/never", environment: { DB_PASSWORD: "hunter2" }, timeoutSeconds: 5 },
  };

  test("shows what would run, its limits and environment, without running it or showing secrets", async () => {
    using host = machine();
    await Bun.write(`${host.path}/work/task.json`, JSON.stringify(TASK));
    const { code, stdout, stderr } = await host.run([
      "task",
      "explain",
      "task.json",
      "--task-memory-max=64MiB",
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^runs +\/bin\/sh -lc 'touch \/tmp\/never'$/m);
    expect(stdout).toMatch(/^limits +memory 64MiB \(task_memory_max\)$/m);
    expect(stdout).toMatch(/^timeout +5s, then SIGTERM, and SIGKILL after 10s$/m);
    expect(stdout).toMatch(/^environment +DB_PASSWORD=\(hidden\)$/m);
    expect(stdout).not.toContain("hunter2");
  });

  test("shows on whose behalf a scan of a log reads", async () => {
    using host = machine();
    const scan = { type: "log.scan", payload: { sourcePresetId: "syslog" } };
    await Bun.write(`${host.path}/work/task.json`, JSON.stringify(scan));
    const { stdout, stderr } = await host.run(["task", "explain", "task.json", "--task-user=nobody"]);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^runs +log\.scan in the agent itself$/m);
    expect(stdout).toMatch(process.getuid?.() === 0 ? /^as +nobody$/m : /^as +the agent$/m);
  });

  test("says what would refuse it, with exit 5, and what is no task, with exit 2", async () => {
    using host = machine();
    await Bun.write(`${host.path}/work/task.json`, JSON.stringify(TASK));
    const refused = await host.run(["task", "explain", "task.json", "--no-allow-tasks"]);
    expect(refused).toMatchObject({ code: 5, stdout: "" });
    expect(refused.stderr).toContain(
      "refused here: the owner of this machine forbids shell.exec (allow_tasks)",
    );
    await Bun.write(`${host.path}/work/task.json`, "{}");
    expect(await host.run(["task", "explain", "task.json"])).toMatchObject({ code: 2, stdout: "" });
  });
});
