// `gc` lists the orphans of the running agent, and removes nothing.
import { expect, test } from "bun:test";
import { join } from "node:path";
import { whenRemoved } from "../../../src/cli/commands/gc.ts";
import { serveStatus } from "../../../src/agent/control-socket.ts";
import type { CaravanseraiStatus, Status } from "../../../src/agent/status.ts";
import { scratch } from "../config/scratch.ts";

const main = join(import.meta.dir, "../../../src/main.ts");

type Orphan = CaravanseraiStatus["orphans"][number];

const plane = (orphans: Orphan[], trouble: string | null = null): CaravanseraiStatus => ({
  server_url: "http://cara:8080",
  node: "n1",
  state: "Ready",
  draining_since: null,
  docker: { version: "28.0.0", api_version: "1.48", trouble },
  projects: [],
  orphans,
  reports: { waiting: 0, last_error: null },
});

const status = (caravanserai: CaravanseraiStatus | null): Status => ({
  version: "1.2.3",
  pid: 1,
  uptime_seconds: 5,
  rss_bytes: 6,
  noderax: null,
  caravanserai,
  loops: [],
  warnings: [],
});

async function gc(
  directory: string,
  ...args: string[]
): Promise<{ code: number; out: string; notes: string }> {
  const child = Bun.spawn(
    [process.execPath, "--no-env-file", main, "gc", "--state-file", join(directory, "id.json"), ...args],
    { cwd: directory, env: { PATH: process.env["PATH"] ?? "" }, stdio: ["ignore", "pipe", "pipe"] },
  );
  const [out, notes, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, out, notes };
}

const orphan = (change: Partial<Orphan>): Orphan => ({
  name: "shop",
  verdict: "orphan",
  reason: "deleted on the server",
  due: null,
  containers: 2,
  volumes: [],
  ...change,
});

test("says of each orphan why it is one, and when it is removed", async () => {
  using folder = scratch();
  const due = new Date(Date.now() + 3_600_000).toISOString();
  const orphans = [orphan({ due }), orphan({ name: "old", verdict: "kept", reason: "Failed on the server" })];
  using _agent = await serveStatus(folder.path, () => status(plane(orphans)));
  const { code, out, notes } = await gc(folder.path, "--dry-run");
  expect(out).toMatch(
    /^PROJECT +CONTAINERS +WHY +REMOVAL\nshop +2 +deleted on the server +in (59m \S+|1h)\nold +2 +Failed on the server +never\n$/,
  );
  expect(notes).toStartWith("Nothing was removed now: the agent removes them");
  expect(code).toBe(0);
  expect(JSON.parse((await gc(folder.path, "--json")).out)).toEqual(orphans);
});

test("names the volumes that stay, with the command that removes them", async () => {
  using folder = scratch();
  const kept = orphan({ verdict: "kept", reason: "only its volumes are left", containers: 0 });
  using _agent = await serveStatus(folder.path, () =>
    status(plane([{ ...kept, volumes: ["cara-shop-data", "cara-shop-logs"] }])),
  );
  expect((await gc(folder.path)).notes).toStartWith(
    "Volumes stay until you remove them:\n  docker volume rm cara-shop-data\n  docker volume rm cara-shop-logs\n",
  );
});

test("says so when there is no orphan, and when Docker is unreachable", async () => {
  using folder = scratch();
  using _agent = await serveStatus(folder.path, () => status(plane([], "there is no socket")));
  expect(await gc(folder.path)).toEqual({
    code: 0,
    out: "",
    notes:
      "warning: Docker is unreachable, this is the last known state: there is no socket\nthere are no orphaned containers\n",
  });
});

test("fails without an agent, and for one without containers", async () => {
  using folder = scratch();
  expect(await gc(folder.path)).toMatchObject({
    code: 1,
    notes: `error: no agent runs with the state directory ${folder.path}\n  Start it:  noderax-agent run\n`,
  });
  using _agent = await serveStatus(folder.path, () => status(null));
  expect(await gc(folder.path)).toMatchObject({ code: 1, out: "" });
});

test.each([
  [{ verdict: "suspected" }, "not decided: the agent asks the server again"],
  [{ verdict: "terminated" }, "now"],
  [{ verdict: "orphan", due: "2026-01-01T00:00:30Z" }, "in 30s"],
  [{ verdict: "orphan", due: "2025-12-31T23:59:59Z" }, "when the server confirms it"],
])("%j goes %s", (change, when) => {
  expect(whenRemoved(orphan(change), Date.parse("2026-01-01T00:00:00Z"))).toBe(when);
});
