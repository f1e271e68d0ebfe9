// The command line against a running sandbox, as separate processes: what it prints and what it exits with.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { until } from "./harness.ts";

const main = join(import.meta.dir, "../../../src/main.ts");
const temporary = mkdtempSync(join(tmpdir(), "sandbox-cli-"));
const environment = { PATH: process.env["PATH"] ?? "", TMPDIR: temporary };

const spawn = (args: readonly string[], env: Record<string, string> = {}) =>
  Bun.spawn([process.execPath, main, "sandbox", ...args], {
    env: { ...environment, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly notes: string;
}

async function run(...args: string[]): Promise<Ran> {
  const child = spawn(args);
  const [out, notes, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, notes };
}

async function firstLine(child: Subprocess<"ignore", "pipe", "pipe">): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true });
    if (text.includes("\n")) break;
  }
  return text;
}

let server: Subprocess<"ignore", "pipe", "pipe">;
let ready: { url: string; operator_token: string };
let headers: Record<string, string>;
const api = (path: string, body: unknown) =>
  fetch(`${ready.url}/api/v1${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });

beforeAll(async () => {
  server = spawn(["--port", "0", "--json", "--operator-token-file", join(temporary, "token")]);
  ready = JSON.parse(await firstLine(server)) as typeof ready;
  headers = {};
});
afterAll(async () => {
  server.kill("SIGTERM");
  await server.exited;
  rmSync(temporary, { recursive: true });
});

test("the ready line is one JSON document, and a new token file is written for it", () => {
  expect(Object.keys(ready)).toEqual(["url", "operator_token"]);
  expect(readFileSync(join(temporary, "token"), "utf8").trim()).toBe(ready.operator_token);
});

test("approve finds the sandbox by itself and makes the node", async () => {
  expect((await run("nodes")).notes).toContain("no nodes yet");
  const enrollment = await api("/enrollments/initiate", { email: "ops@example.com", hostname: "demo-1" });
  const { token } = (await enrollment.json()) as { token: string };
  const { code, out } = await run("approve", token);
  expect([code, out]).toEqual([0, expect.stringMatching(/^approved demo-1 \([0-9a-f-]{36}\)\n$/)]);
  const approved = await fetch(`${ready.url}/api/v1/enrollments/${token}`);
  const { nodeId, agentToken } = (await approved.json()) as { nodeId: string; agentToken: string };
  headers = { authorization: `Bearer ${agentToken}`, "x-agent-node-id": nodeId };
  expect(JSON.parse((await run("nodes", "--json")).out)).toMatchObject([
    { name: "demo-1", id: nodeId, status: "offline" },
  ]);
});

describe("task", () => {
  /** Claims one task and answers it as an agent would. */
  const answer = async (rows: [string, string][], completion: Record<string, unknown>): Promise<void> => {
    const claimed = await api("/agent/tasks/claim", { waitMs: 10_000 });
    const { task } = (await claimed.json()) as { task: { id: string } };
    await api(`/agent/tasks/${task.id}/started`, {});
    for (const [stream, line] of rows) await api(`/agent/tasks/${task.id}/logs`, { stream, line });
    await api(`/agent/tasks/${task.id}/completed`, completion);
  };

  test("followed by a person: rows as they come, exit code and status at the end", async () => {
    const agent = answer(
      [
        ["stdout", "one\ntwo"],
        ["stderr", "oops"],
      ],
      { status: "success", exitCode: 0 },
    );
    const { code, out } = await run("task", "demo-1", "echo");
    await agent;
    expect(out).toBe("one\ntwo\n[stderr] oops\nexit code 0  success\n");
    expect(code).toBe(0);
  });

  test("with --wait --json: one document, and a failed task exits with 1", async () => {
    const agent = answer(
      [
        ["stdout", "a"],
        ["stdout", "b"],
      ],
      { status: "failed", exitCode: 3, output: "a\nb" },
    );
    const { code, out } = await run("task", "demo-1", "false", "--wait", "--json");
    await agent;
    expect(JSON.parse(out)).toEqual({
      task_id: expect.any(String),
      status: "failed",
      exit_code: 3,
      output: "a\nb",
      log: "a\nb",
    });
    expect(code).toBe(1);
  });

  test("with --json alone returns at once", async () => {
    const { code, out } = await run("task", "demo-1", "sleep 60", "--json");
    const { task_id, status } = JSON.parse(out) as Record<string, string>;
    expect([code, status]).toEqual([0, "queued"]);
    expect((await run("cancel", task_id ?? "")).out).toBe(`${task_id} cancelled\n`);
  });

  test("for an unknown node fails and says which there are", async () => {
    const { code, notes } = await run("task", "demo-2", "id");
    expect(code).toBe(1);
    expect(notes).toContain('no node is called "demo-2"');
    expect(notes).toContain("demo-1");
  });
});

test("a sandbox that is not there is exit code 4, a wrong token 5, wrong usage 2", async () => {
  expect((await run("nodes", "--url", "http://127.0.0.1:1", "--token", "x")).code).toBe(4);
  expect((await run("nodes", "--token", "wrong")).code).toBe(5);
  expect((await run("faults", "--error-rate", "7")).code).toBe(2);
});

test("faults are switched on and off", async () => {
  const on = await run("faults", "--delay", "1ms", "--routes", "logs", "--json");
  expect(JSON.parse(on.out)).toMatchObject({ delay: "1ms", routes: ["logs"] });
  expect(JSON.parse((await run("faults", "--off", "--json")).out)).toMatchObject({
    delay: "0s",
    routes: null,
  });
});

test("a sandbox behind TLS is found and trusted through its own file", async () => {
  const openssl = Bun.which("openssl");
  if (openssl === null) return;
  const [key, cert] = [join(temporary, "key.pem"), join(temporary, "cert.pem")];
  const request =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=sandbox -addext subjectAltName=IP:127.0.0.1";
  const made = Bun.spawnSync([openssl, ...request.split(" "), "-keyout", key, "-out", cert]);
  expect(made.exitCode).toBe(0);
  const TMPDIR = mkdtempSync(join(temporary, "tls-"));
  const secure = spawn(["--port", "0", "--json", "--tls-cert", cert, "--tls-key", key], { TMPDIR });
  try {
    expect(await firstLine(secure)).toContain('"url":"https://127.0.0.1:');
    const child = spawn(["nodes", "--json"], { TMPDIR });
    expect(JSON.parse(await new Response(child.stdout).text())).toEqual([]);
  } finally {
    secure.kill("SIGINT");
    await secure.exited;
  }
  expect(secure.exitCode).toBe(0);
});

test("binding to more than loopback warns that tokens travel in clear", async () => {
  const TMPDIR = mkdtempSync(join(temporary, "open-"));
  const open = spawn(["--port", "0", "--host", "0.0.0.0"], { TMPDIR });
  let notes = "";
  const reading = (async () => {
    for await (const chunk of open.stderr) notes += new TextDecoder().decode(chunk);
  })();
  await until(() => notes.includes("in clear text"));
  open.kill("SIGINT");
  await Promise.all([open.exited, reading]);
});
