// Root access is what the operator wants, unless this machine's owner forbids it; and the operator is told which.
import { expect, test } from "bun:test";
import { type RootVetoes, createRootAccess, rootAccessMigration } from "../../../src/identity/root-access.ts";
import { openDatabase } from "../../../src/platform/database.ts";
import { scratchDirectory } from "./scratch.ts";

const inMemory = () => openDatabase(":memory:", [rootAccessMigration]);
const everywhere = (why: string): RootVetoes => ({ operational: why, task: why, terminal: why });
const at = (minute: number): string => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();

test("until the control plane says something, nothing is given and nothing was applied", () => {
  using database = inMemory();
  const access = createRootAccess(database, {});
  expect(access.profile()).toBe("off");
  expect(access.report()).toEqual({ appliedProfile: "off", lastError: null });
});

test("a profile is in force at once, and reported with the time it was applied", () => {
  using database = inMemory();
  const access = createRootAccess(database, {});
  access.desire({ profile: "task", updatedAt: at(1) });
  expect(access.profile()).toBe("task");
  const { lastAppliedAt, ...report } = access.report();
  expect(report).toEqual({ appliedProfile: "task", lastError: null });
  expect(Math.abs(Date.parse(lastAppliedAt ?? "") - Date.now())).toBeLessThan(5_000);
});

test("a snapshot older than the last one is ignored, one of the same time is not", () => {
  using database = inMemory();
  const access = createRootAccess(database, {});
  access.desire({ profile: "operational", updatedAt: at(5) });
  access.desire({ profile: "all", updatedAt: at(4) });
  expect(access.profile()).toBe("operational");
  access.desire({ profile: "off", updatedAt: at(5) });
  expect(access.profile()).toBe("off");
});

test("the first change follows a snapshot without a time", () => {
  using database = inMemory();
  const access = createRootAccess(database, {});
  access.desire({ profile: "off", updatedAt: null });
  access.desire({ profile: "all", updatedAt: at(1) });
  expect(access.profile()).toBe("all");
});

test("the same snapshot with every claim is written once", () => {
  using database = inMemory();
  const access = createRootAccess(database, {});
  const changes = (): number =>
    database.query<{ n: number }, []>("SELECT total_changes() AS n").get()?.n ?? -1;
  access.desire({ profile: "all", updatedAt: at(1) });
  const before = changes();
  for (let claim = 0; claim < 10; claim++) access.desire({ profile: "all", updatedAt: at(1) });
  expect(changes()).toBe(before);
});

test("the owner's veto is stronger than any profile, and the operator is told why", () => {
  using database = inMemory();
  const access = createRootAccess(
    database,
    everywhere("allow_root is false in this machine's configuration"),
  );
  access.desire({ profile: "all", updatedAt: at(1) });
  expect(access.profile()).toBe("off");
  expect(access.report()).toMatchObject({
    appliedProfile: "off",
    lastError: "allow_root is false in this machine's configuration",
  });
});

test("a veto against one surface leaves the others, and each reason is told once", () => {
  using database = inMemory();
  const access = createRootAccess(database, { operational: "no tasks", task: "no tasks" });
  access.desire({ profile: "all", updatedAt: at(1) });
  expect(access.report()).toMatchObject({ appliedProfile: "terminal", lastError: "no tasks" });
  access.desire({ profile: "terminal", updatedAt: at(2) });
  expect(access.report()).toMatchObject({ appliedProfile: "terminal", lastError: null });
});

test("a veto against what nobody asks for is no error", () => {
  using database = inMemory();
  const access = createRootAccess(database, everywhere("the agent is not root"));
  access.desire({ profile: "off", updatedAt: at(1) });
  expect(access.report().lastError).toBeNull();
});

test("the profile is in force again after a restart, and a lifted veto gives what is still wanted", () => {
  using directory = scratchDirectory();
  const open = () => openDatabase(directory.at("agent.db"), [rootAccessMigration]);
  {
    using database = open();
    createRootAccess(database, everywhere("vetoed")).desire({ profile: "task_terminal", updatedAt: at(1) });
  }
  using database = open();
  expect(createRootAccess(database, {}).profile()).toBe("task_terminal");
});

test("a profile this version does not know gives nothing", () => {
  using database = inMemory();
  database.run("INSERT INTO root_access VALUES (1, 'everything_and_more', NULL, 'then')");
  expect(createRootAccess(database, {}).profile()).toBe("off");
});
