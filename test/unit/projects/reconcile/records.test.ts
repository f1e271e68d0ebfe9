// What this node made, on disk: over restarts, crashes in the middle of a making, and things that vanish.
import { expect, test } from "bun:test";
import { openDatabase } from "../../../../src/platform/database.ts";
import type { ObservedContainer, ObservedProject } from "../../../../src/projects/plan/observed.ts";
import { WorldEngine } from "../../../support/world-engine.ts";
import { MIGRATIONS, Server, emptyStore, runProjects, stateIn, until } from "../harness.ts";
import { type Records, createRecords, recordsMigration } from "../../../../src/projects/reconcile/records.ts";

const WEB = { kind: "container", name: "shop-web", fingerprint: "f1" } as const;

function opened() {
  const database = openDatabase(":memory:", [recordsMigration]);
  return { restarted: (): Records => createRecords(database), records: createRecords(database) };
}

const container = (id: string, name = "shop-web"): ObservedContainer => ({
  id,
  name,
  service: "web",
  role: "current",
  state: "running",
  image: "web:1",
  fingerprint: "f1",
  made: undefined,
  networks: new Map(),
  since: 0,
  exit: undefined,
});
const snapshot = (...containers: ObservedContainer[]) => ({
  projects: new Map<string, ObservedProject>([
    ["shop", { containers, network: undefined, volumes: new Set(), taken: new Map(), makers: new Map() }],
  ]),
});

test("what was made is known after a restart, and its beginning is over", () => {
  const { records, restarted } = opened();
  records.begin(WEB);
  records.made(WEB, "id1");
  expect([restarted().has("container", "id1"), restarted().wasBegun(WEB)]).toEqual([true, false]);
});

test("a crash before Docker's answer leaves the name and the fingerprint", () => {
  const { records, restarted } = opened();
  records.begin(WEB);
  expect(restarted().wasBegun(WEB)).toBe(true);
  expect(restarted().wasBegun({ ...WEB, fingerprint: "f2" })).toBe(false);
  expect(restarted().wasBegun({ ...WEB, name: "shop-db" })).toBe(false);
});

test.each(["createNetwork", "createVolume", "createContainer web"])(
  "what an agent was making when it died is removed with the project: %s",
  async (step) => {
    const [engine, server] = [new WorldEngine(), new Server()];
    const database = openDatabase(":memory:", MIGRATIONS);
    const store = emptyStore();
    server.put("shop");
    const first = runProjects(engine, server, { state: stateIn(database), store });
    let dead: Promise<void> | undefined;
    engine.onStep = (text, when) => {
      if (when === "after" && text === `shop ${step}`) dead ??= first.crash();
    };
    await until("it died", () => dead !== undefined);
    engine.onStep = () => {};
    await dead;
    expect(engine.isEmpty("shop")).toBe(false);
    // Nothing is left of the specification that it could be known by.
    server.put("shop", "Terminating", "nonsense");
    await using _again = runProjects(engine, server, { state: stateIn(database), store });
    await until("it is terminated", () => server.phase("shop") === "Terminated");
    expect(engine.isEmpty("shop")).toBe(true);
  },
);

test("what Docker refused to make was not made here", () => {
  const { records, restarted } = opened();
  records.begin(WEB);
  records.refused(WEB);
  expect(restarted().wasBegun(WEB)).toBe(false);
});

test("what two snapshots in a row do not show is dropped, and not what one of them misses", () => {
  const { records, restarted } = opened();
  records.made(WEB, "id1");
  records.prune(snapshot());
  records.prune(snapshot(container("id1")));
  records.prune(snapshot());
  expect(records.has("container", "id1")).toBe(true);
  records.prune(snapshot());
  expect([records.has("container", "id1"), restarted().has("container", "id1")]).toEqual([false, false]);
});

test("a making of this run outlasts snapshots that do not show it; one of an earlier run does not", () => {
  const { records, restarted } = opened();
  records.begin(WEB);
  for (let n = 0; n < 3; n++) records.prune(snapshot());
  expect(records.wasBegun(WEB)).toBe(true);
  const later = restarted();
  later.prune(snapshot(container("id1")));
  later.prune(snapshot());
  expect(later.wasBegun(WEB)).toBe(true);
  later.prune(snapshot());
  expect([later.wasBegun(WEB), restarted().wasBegun(WEB)]).toEqual([false, false]);
});
