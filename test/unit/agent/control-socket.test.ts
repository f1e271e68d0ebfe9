// One agent a state directory: it answers for itself, a second one is refused, and a dead one is nobody.
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { milliseconds } from "../../../src/lib/duration.ts";
import { until } from "../../support/until.ts";
import { askAccess, askStatus, serveStatus, tellNews } from "../../../src/agent/control-socket.ts";
import type { Status } from "../../../src/agent/status.ts";

const status: Status = {
  version: "1.2.3",
  pid: 4711,
  uptime_seconds: 5,
  rss_bytes: 6,
  noderax: null,
  loops: [],
  warnings: ["ü"],
};

function stateDirectory(below = ""): Disposable & { readonly path: string } {
  const root = mkdtempSync(join(tmpdir(), "noderax-test-"));
  return { path: join(root, below), [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }) };
}

test("a running agent tells its status, as it is when asked", async () => {
  using directory = stateDirectory("state");
  let uptime = 1;
  using _agent = await serveStatus(directory.path, () => ({ ...status, uptime_seconds: uptime++ }));
  expect((await askStatus(directory.path))?.uptime_seconds).toBe(1);
  expect(await askStatus(directory.path)).toEqual({ ...status, uptime_seconds: 2 });
});

test("a command that has written something is heard, and a mere question is no news", async () => {
  using directory = stateDirectory("state");
  let news = 0;
  using _agent = await serveStatus(
    directory.path,
    () => status,
    () => news++,
  );
  await askStatus(directory.path);
  expect(news).toBe(0);
  expect(await tellNews(directory.path)).toEqual(status);
  expect(news).toBe(1);
});

test("its listen_token is told to its owner's commands, and not with the status", async () => {
  using directory = stateDirectory("state");
  using _agent = await serveStatus(
    directory.path,
    () => status,
    () => {},
    { listen_token: "5ecret" },
  );
  expect(await askAccess(directory.path)).toEqual({ listen_token: "5ecret" });
  expect(JSON.stringify(await askStatus(directory.path))).not.toContain("5ecret");
});

test("only its owner may ask", async () => {
  using directory = stateDirectory("state");
  using _agent = await serveStatus(directory.path, () => status);
  expect(statSync(join(directory.path, "agent.sock")).mode & 0o777).toBe(0o600);
  expect(statSync(directory.path).mode & 0o777).toBe(0o700);
});

test("a second agent on the same directory is refused with the first one's pid, and the first goes on", async () => {
  using directory = stateDirectory();
  using _agent = await serveStatus(directory.path, () => status);
  expect(serveStatus(directory.path, () => ({ ...status, pid: 1 }))).rejects.toMatchObject({
    code: "agent.running",
    message: "an agent with this state directory runs already (pid 4711)",
  });
  expect((await askStatus(directory.path))?.pid).toBe(4_711);
});

test("a second agent waits for one that is stopping, tells its pid, and can be told to give up", async () => {
  using directory = stateDirectory();
  const first = await serveStatus(directory.path, () => ({ ...status, stopping: true }));
  const told: (number | undefined)[] = [];
  const enough = new AbortController();
  const wait = { onWait: (pid?: number) => void told.push(pid), signal: enough.signal };
  const impatient = serveStatus(directory.path, () => status, undefined, undefined, wait);
  await until("it waits", () => told.length === 1);
  enough.abort();
  expect(impatient).rejects.toMatchObject({ code: "agent.running" });
  const second = serveStatus(directory.path, () => status, undefined, undefined, { onWait: wait.onWait });
  await until("it waits, too", () => told.length === 2);
  first[Symbol.dispose]();
  using _second = await second;
  expect(told).toEqual([4_711, 4_711]);
});

test("agents on two directories do not see each other", async () => {
  using one = stateDirectory();
  using other = stateDirectory();
  using _agent = await serveStatus(one.path, () => status);
  expect(await askStatus(other.path)).toBeUndefined();
  using _second = await serveStatus(other.path, () => ({ ...status, pid: 2 }));
  expect((await askStatus(one.path))?.pid).toBe(4_711);
});

test("an agent that stopped does not answer, and leaves no files", async () => {
  using directory = stateDirectory();
  (await serveStatus(directory.path, () => status))[Symbol.dispose]();
  expect(await askStatus(directory.path)).toBeUndefined();
  using _next = await serveStatus(directory.path, () => status);
  expect(await askStatus(directory.path)).toEqual(status);
});

/** Leaves behind what a process that was killed leaves: a socket nobody listens on. */
async function dieIn(directory: string): Promise<void> {
  const module = join(import.meta.dir, "../../../src/agent/control-socket.ts");
  const script = `const { serveStatus } = await import(${JSON.stringify(module)});
    await serveStatus(${JSON.stringify(directory)}, () => (${JSON.stringify(status)}));
    process.kill(process.pid, "SIGKILL");`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    cwd: join(import.meta.dir, "../../.."),
    stdio: ["ignore", "inherit", "inherit"],
  });
  await child.exited;
  expect(statSync(join(directory, "agent.sock")).isSocket()).toBe(true);
}

test("an agent that was killed does not answer, and its socket is taken over", async () => {
  using directory = stateDirectory();
  await dieIn(directory.path);
  expect(await askStatus(directory.path)).toBeUndefined();
  using _next = await serveStatus(directory.path, () => status);
  expect(await askStatus(directory.path)).toEqual(status);
});

test("a state directory may lie deeper than a socket's path is long", async () => {
  using directory = stateDirectory(`${"deep-down/".repeat(20)}state`);
  expect(directory.path.length).toBeGreaterThan(108);
  using _agent = await serveStatus(directory.path, () => status);
  expect(await askStatus(directory.path)).toEqual(status);
  expect(serveStatus(directory.path, () => status)).rejects.toMatchObject({ code: "agent.running" });
});

test("an agent that hangs is said to hang, not to be absent", async () => {
  using directory = stateDirectory();
  mkdirSync(directory.path, { recursive: true });
  using _mute = Bun.serve({
    unix: join(directory.path, "agent.sock"),
    fetch: () => new Promise<Response>(() => {}),
  });
  const answer = await askStatus(directory.path, milliseconds(50)).catch((error: unknown) => error);
  expect(answer).toMatchObject({ code: "agent.silent", exit: 4 });
});
