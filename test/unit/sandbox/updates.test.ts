// Roll-outs of the sandbox: its release place, targets that fail, and what an updater reports.
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createProgressReport } from "../../../src/install/update/progress.ts";
import { enrolled, sandboxWith, until } from "./harness.ts";

const { signal } = new AbortController();

test("a release place is served with ranges, and nothing above it", async () => {
  const directory = mkdtempSync(join(tmpdir(), "releases-"));
  try {
    mkdirSync(join(directory, "place/0.2.0"), { recursive: true });
    writeFileSync(join(directory, "secret"), "secret");
    writeFileSync(join(directory, "place/0.2.0/file"), "0123456789");
    await using sandbox = await sandboxWith({ releases: join(directory, "place") });
    const get = async (path: string, range?: string): Promise<string> => {
      const answer = await fetch(`${sandbox.url}/releases/${path}`, { headers: range ? { range } : {} });
      return `${answer.status} ${await answer.text()} ${answer.headers.get("content-range") ?? ""}`.trim();
    };
    expect(await get("0.2.0/file")).toBe("200 0123456789");
    expect(await get("0.2.0/file", "bytes=7-")).toBe("206 789 bytes 7-9/10");
    expect(await get("0.2.0/file", "bytes=10-")).toBe("416  bytes */10");
    for (const path of ["0.2.0/none", "0.2.0", "..%2fsecret", "0.2.0/..%2f..%2fsecret", "%2e%2e/secret"])
      expect(await get(path)).toStartWith("404");
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  await using without = await sandboxWith();
  expect((await fetch(`${without.url}/releases/catalog.json`)).status).toBe(404);
});

test("a target fails with its task, and when it makes no progress", async () => {
  await using sandbox = await sandboxWith({ timings: { sweepInterval: 5 } });
  const node = await enrolled(sandbox);
  const first = sandbox.createUpdate({ node: node.id, targetVersion: "0.2.0" });
  sandbox.cancel(first.task_id);
  const target = (id: string) => sandbox.updates().find((one) => one.id === id);
  await until(() => target(first.id)?.status === "failed");
  expect(target(first.id)?.message).toContain("cancelled");
  const second = sandbox.createUpdate({ node: node.id, targetVersion: "0.2.0" });
  sandbox.setTimings({ updateDispatchLimit: 0 });
  await until(() => target(second.id)?.status === "failed");
  expect(target(second.id)?.message).toBe("No progress while dispatched.");
});

test("an updater reports its steps in order, and nothing changes a failure", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const directory = mkdtempSync(join(tmpdir(), "update-"));
  try {
    const stateFile = join(directory, "identity.json");
    writeFileSync(stateFile, JSON.stringify({ node_id: node.id, agent_token: node.token }), { mode: 0o600 });
    const { id } = sandbox.createUpdate({ node: node.id, targetVersion: "0.2.0" });
    const target = () => sandbox.updates().find((one) => one.id === id);
    const problems: string[] = [];
    const report = createProgressReport(
      { id, apiUrl: sandbox.url, stateFile },
      (text) => problems.push(text),
      signal,
    );
    report.tell("downloading", "one");
    report.tell("verifying", "two");
    report.tell("installing", "three");
    await until(() => target()?.status === "installing");
    expect(target()).toMatchObject({ progress_percent: 70, message: "three" });
    const failed = report.failed("Version 0.2.0 was rolled back to 0.1.0.");
    report.tell("restarting", "too late");
    await failed;
    expect(target()).toMatchObject({ status: "failed", message: "Version 0.2.0 was rolled back to 0.1.0." });
    expect(problems).toEqual([]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("a failure is reported again until the control plane takes it", async () => {
  const answers = [503, 429, 200];
  const messages: unknown[] = [];
  using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      messages.push(await request.json());
      const status = answers[messages.length - 1] ?? 200;
      return Response.json(status === 200 ? { id: "a" } : { message: "later" }, { status });
    },
  });
  const directory = mkdtempSync(join(tmpdir(), "update-"));
  try {
    const stateFile = join(directory, "identity.json");
    writeFileSync(stateFile, JSON.stringify({ node_id: "n", agent_token: "t" }), { mode: 0o600 });
    const target = { id: "a", apiUrl: `http://127.0.0.1:${server.port}`, stateFile };
    const problems: string[] = [];
    await createProgressReport(target, (text) => problems.push(text), signal).failed("why");
    const message = { status: "failed", progressPercent: 95, message: "why" };
    expect(messages).toEqual([message, message, message]);
    expect(problems).toEqual([]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("an updater that nobody asked for by a roll-out reports nothing, and one without an identity says so", async () => {
  const silent = createProgressReport(undefined, () => expect.unreachable(), signal);
  silent.tell("downloading", "one");
  await silent.failed("two");
  const problems: string[] = [];
  const target = {
    id: crypto.randomUUID(),
    apiUrl: "http://127.0.0.1:1",
    stateFile: "/nowhere/identity.json",
  };
  await createProgressReport(target, (text) => problems.push(text), signal).failed("why");
  expect(problems).toEqual(["this machine has no identity to report the update with"]);
});
