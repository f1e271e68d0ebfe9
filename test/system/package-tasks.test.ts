// Package tasks from the control plane to the real dpkg and back: agent and sandbox in a machine that is thrown away.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { debianRepository } from "../support/debian-packages.ts";
import { AGENT_HERE, Throwaway, missingForThrowaway } from "../support/throwaway.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(240_000);

const missing = [
  ...(missingForThrowaway === undefined ? [] : [missingForThrowaway]),
  ...["apt-get", "dpkg-deb", "dpkg-scanpackages"].filter((program) => Bun.which(program) === null),
].join(" and ");

interface Task {
  readonly id: string;
  readonly status: string;
  readonly output: string | null;
  readonly result: Readonly<Record<string, unknown>> | null;
}

describe.skipIf(missing !== "")(`a node (needs ${missing || "nothing more"})`, () => {
  let machine: Throwaway;
  let api: (method: string, path: string, body?: unknown) => Promise<unknown>;
  let agent: ReturnType<Throwaway["start"]>;

  beforeAll(async () => {
    machine = await Throwaway.boot();
    await debianRepository(machine);
    const sandbox = machine.start([AGENT_HERE, "sandbox", "--json", "--port", "0", "--data", "/tmp/sandbox"]);
    const reader = sandbox.stdout.getReader();
    const { value } = await reader.read();
    const { url, operator_token: token } = JSON.parse(new TextDecoder().decode(value)) as {
      url: string;
      operator_token: string;
    };
    api = async (method, path, body) => {
      const answer = await fetch(`${url}/sandbox/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
      return answer.json();
    };
    const config = {
      api_url: url,
      state_file: "/var/lib/nx-test/identity.json",
      task_poll_interval: "300ms",
    };
    await machine.sh("mkdir -p /etc/noderax-agent && chmod 755 /etc/noderax-agent");
    await machine.run(["sh", "-c", "umask 077; cat >/etc/noderax-agent/config.json"], JSON.stringify(config));
    const install = (await api("POST", "/node-installs", { node_name: "web" })) as { token: string };
    const enrolled = await machine.run(
      [AGENT_HERE, "enroll", "--hostname", "web", "--bootstrap-token", "-"],
      install.token,
    );
    expect(enrolled).toMatchObject({ code: 0 });
    agent = machine.start([AGENT_HERE, "run"]);
    await api("PUT", "/nodes/web/root-access", { profile: "operational" });
    await until("the profile is applied", async () => {
      const node = (await api("GET", "/nodes/web")) as { root_access: { status: string } };
      return node.root_access.status === "applied";
    });
  });
  afterAll(() => machine[Symbol.asyncDispose]());

  const packages = async (...words: string[]) => {
    const ran = await machine.run([AGENT_HERE, "sandbox", "packages", "web", "--json", ...words]);
    return { ...ran, answer: JSON.parse(ran.stdout || "{}") as Record<string, unknown> };
  };
  const order = async (type: string, ...names: string[]): Promise<string> =>
    ((await api("POST", "/tasks", { node: "web", type, payload: { names, packages: names } })) as Task).id;
  const ended = async (id: string): Promise<Task> => {
    let task: Task | undefined;
    await until(
      "the task has ended",
      async () => {
        task = (await api("GET", `/tasks/${id}`)) as Task;
        return ["success", "failed", "cancelled"].includes(task.status);
      },
      60_000,
    );
    if (task === undefined) throw new Error("no task");
    return task;
  };
  const began = (): Promise<void> =>
    until("dpkg runs", async () => (await machine.run(["test", "-e", "/run/nxslow-began"])).code === 0);
  const audit = async (): Promise<string> => (await machine.run(["dpkg", "--audit"])).stdout;
  const without = (name: string): Promise<string> =>
    machine.sh(`rm -f /run/nxslow-*; apt-get -qqy purge ${name} >/dev/null 2>&1`);

  test("`sandbox packages` installs, lists, searches and removes", async () => {
    const { code, answer } = await packages("install", "nxhello");
    expect(code).toBe(0);
    expect(answer).toMatchObject({
      status: "success",
      error: null,
      result: { names: ["nxhello"], purge: false, exitCode: 0, rebootRequired: expect.any(Boolean) },
    });
    expect(answer["result"]).toMatchObject({
      installed: [{ name: "nxhello", version: "2.0" }, { name: "nxlib" }],
    });
    const list = await packages("list");
    expect(list.answer["packages"]).toContainEqual(
      expect.objectContaining({ name: "nxhello", version: "2.0", architecture: "all", status: "installed" }),
    );
    const found = await packages("search", "nxhel");
    expect(found.answer["results"]).toEqual([
      { name: "nxhello", version: "2.0", description: "Greeting nxhello", status: "installed" },
    ]);
    const removed = await packages("purge", "nxhello", "nxlib");
    expect(removed.answer["result"]).toMatchObject({
      purge: true,
      removed: [{ name: "nxhello" }, { name: "nxlib" }],
    });
    const words = await machine.run([AGENT_HERE, "sandbox", "packages", "web", "install", "nxhello"]);
    // The lines of the log, which come while it works, and end with what has changed.
    expect(words.stdout).toMatch(/^apt: install nxhello\n[^]*installed nxhello 2\.0\n/);
    await packages("purge", "nxhello", "nxlib");
    const failed = await packages("install", "nx-unknown");
    expect(failed.code).toBe(1);
    expect(failed.answer).toMatchObject({ status: "failed", error: "apt knows no package nx-unknown" });
  });

  test("a cancel while dpkg works is reported when dpkg has finished", async () => {
    const id = await order("packageInstall", "nxslow");
    await began();
    await api("POST", `/tasks/${id}/cancel`, {});
    const task = await ended(id);
    expect(task.status).toBe("cancelled");
    expect(task.result?.["installed"]).toEqual([{ name: "nxslow", version: "1.0" }]);
    expect(await machine.sh("ls /run/nxslow-ended")).toBe("/run/nxslow-ended\n");
    expect(await audit()).toBe("");
    await without("nxslow");
  });

  test("an operation goes on while the agent is killed, and is reported once by the next", async () => {
    const id = await order("packageInstall", "nxslow");
    await began();
    agent.kill("SIGKILL");
    await machine.run(["pkill", "-KILL", "-f", "^/opt/noderax/noderax-agent run"]);
    await agent.exited;
    agent = machine.start([AGENT_HERE, "run"]);
    const task = await ended(id);
    expect(task.status).toBe("success");
    expect(task.result?.["installed"]).toEqual([{ name: "nxslow", version: "1.0" }]);
    expect(await audit()).toBe("");
    await without("nxslow");
  });

  test("two at once run one after the other, and the log of the second says why it waits", async () => {
    const ids = [await order("packageInstall", "nxslow"), await order("packageInstall", "nxpart1")];
    const tasks = await Promise.all(ids.map(ended));
    expect(tasks.map(({ status }) => status)).toEqual(["success", "success"]);
    const rows = (await api("GET", `/tasks/${ids[1]}/logs?all=1`)) as { line: string }[];
    expect(rows.map(({ line }) => line).join("\n")).toContain("packages take one at a time");
    await without("nxslow nxpart1");
  });
});
