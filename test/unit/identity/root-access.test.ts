// Root access is what the operator wants, unless this machine's owner forbids it; and the operator is told which.
import { beforeEach, expect, test } from "bun:test";
import type { Database } from "bun:sqlite";
import { wallFrom } from "../../../src/lib/clock.ts";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import {
  type RootAccess,
  type RootVetoes,
  createRootAccess,
  rootAccessMigration,
} from "../../../src/identity/root-access.ts";
import { silent } from "../../../src/platform/log.ts";
import { openDatabase } from "../../../src/platform/database.ts";
import { scratchDirectory } from "./scratch.ts";

const inMemory = () => openDatabase(":memory:", [rootAccessMigration]);
const everywhere = (why: string): RootVetoes => ({ operational: why, task: why, terminal: why });
/** The server's clock shows `at(0)` when the steady clock shows 0. */
let steady = 0;
beforeEach(() => void (steady = minutes(60)));

function accessTo(database: Database, vetoes: RootVetoes): RootAccess {
  const serverClock = { at: (moment: number) => wallFrom(Date.UTC(2026, 0, 1) + moment) };
  return createRootAccess({ database, vetoes, serverClock, log: silent }, () => steady);
}
const at = (minute: number): string => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();

test("until the control plane says something, nothing is given and nothing was applied", () => {
  using database = inMemory();
  const access = accessTo(database, {});
  expect(access.profile()).toBe("off");
  expect(access.report()).toEqual({ appliedProfile: "off", lastError: null });
});

test("a profile is in force at once, and reported with the time it was applied", () => {
  using database = inMemory();
  const access = accessTo(database, {});
  access.desire({ profile: "task", updatedAt: at(1) });
  expect(access.profile()).toBe("task");
  expect(access.report()).toEqual({ appliedProfile: "task", lastAppliedAt: at(60), lastError: null });
});

test("a snapshot older than the last one is ignored, one of the same time is not", () => {
  using database = inMemory();
  const access = accessTo(database, {});
  access.desire({ profile: "operational", updatedAt: at(5) });
  access.desire({ profile: "all", updatedAt: at(4) });
  expect(access.profile()).toBe("operational");
  access.desire({ profile: "off", updatedAt: at(5) });
  expect(access.profile()).toBe("off");
});

test("a snapshot of the future does not block the changes after it", () => {
  using database = inMemory();
  const access = accessTo(database, {});
  access.desire({ profile: "all", updatedAt: at(600) });
  expect(access.profile()).toBe("all");
  steady += minutes(1);
  access.desire({ profile: "off", updatedAt: at(61) });
  expect(access.profile()).toBe("off");
  access.desire({ profile: "all", updatedAt: at(59) });
  expect(access.profile()).toBe("off");
});

test("a late snapshot is ignored however often it comes beside the newer one", () => {
  using database = inMemory();
  const access = accessTo(database, {});
  const newer = { profile: "off", updatedAt: at(5) };
  for (let second = 0; second < 600; second += 30) {
    access.desire(newer);
    access.desire({ profile: "all", updatedAt: at(4) });
    steady += seconds(30);
  }
  expect(access.profile()).toBe("off");
});

test("a server that was restored, and says nothing but the older profile for two minutes, is believed", () => {
  using database = inMemory();
  const access = accessTo(database, {});
  access.desire({ profile: "all", updatedAt: at(5) });
  const restored = { profile: "off", updatedAt: at(4) };
  access.desire(restored);
  steady += seconds(119);
  access.desire(restored);
  expect(access.profile()).toBe("all");
  steady += seconds(1);
  access.desire(restored);
  expect(access.profile()).toBe("off");
});

test("the first change follows a snapshot without a time", () => {
  using database = inMemory();
  const access = accessTo(database, {});
  access.desire({ profile: "off", updatedAt: null });
  access.desire({ profile: "all", updatedAt: at(1) });
  expect(access.profile()).toBe("all");
});

test("the same snapshot with every claim is written once", () => {
  using database = inMemory();
  const access = accessTo(database, {});
  const changes = (): number =>
    database.query<{ n: number }, []>("SELECT total_changes() AS n").get()?.n ?? -1;
  access.desire({ profile: "all", updatedAt: at(1) });
  const before = changes();
  for (let claim = 0; claim < 10; claim++) access.desire({ profile: "all", updatedAt: at(1) });
  expect(changes()).toBe(before);
});

test("the owner's veto is stronger than any profile, and the operator is told why", () => {
  using database = inMemory();
  const access = accessTo(database, everywhere("allow_root is false in this machine's configuration"));
  access.desire({ profile: "all", updatedAt: at(1) });
  expect(access.profile()).toBe("off");
  expect(access.report()).toMatchObject({
    appliedProfile: "off",
    lastError: "allow_root is false in this machine's configuration",
  });
});

test("a veto against one surface leaves the others, and each reason is told once", () => {
  using database = inMemory();
  const access = accessTo(database, { operational: "no tasks", task: "no tasks" });
  access.desire({ profile: "all", updatedAt: at(1) });
  expect(access.report()).toMatchObject({ appliedProfile: "terminal", lastError: "no tasks" });
  access.desire({ profile: "terminal", updatedAt: at(2) });
  expect(access.report()).toMatchObject({ appliedProfile: "terminal", lastError: null });
});

test("a veto against what nobody asks for is no error", () => {
  using database = inMemory();
  const access = accessTo(database, everywhere("the agent is not root"));
  access.desire({ profile: "off", updatedAt: at(1) });
  expect(access.report().lastError).toBeNull();
});

test("the profile is in force again after a restart, and a lifted veto gives what is still wanted", () => {
  using directory = scratchDirectory();
  const open = () => openDatabase(directory.at("agent.db"), [rootAccessMigration]);
  {
    using database = open();
    accessTo(database, everywhere("vetoed")).desire({ profile: "task_terminal", updatedAt: at(1) });
  }
  using database = open();
  expect(accessTo(database, {}).profile()).toBe("task_terminal");
});

test("a profile this version does not know counts as off, and the operator is told", () => {
  using database = inMemory();
  const access = accessTo(database, {});
  access.desire({ profile: "all", updatedAt: at(1) });
  access.desire({ profile: "everything_and_more", updatedAt: at(2) });
  const lastError =
    'this agent does not know the profile "everything_and_more", which counts as off: update it';
  expect(access.report()).toMatchObject({ appliedProfile: "off", lastError });
  expect(accessTo(database, {}).report()).toMatchObject({ appliedProfile: "off", lastError });
  access.desire({ profile: "task", updatedAt: at(3) });
  expect(access.report()).toMatchObject({ appliedProfile: "task", lastError: null });
});

test("a profile that cannot be stored is in force, is told, and is stored again with pauses", () => {
  using directory = scratchDirectory();
  using database = openDatabase(directory.at("agent.db"), [rootAccessMigration]);
  const access = accessTo(database, {});
  access.desire({ profile: "all", updatedAt: at(1) });
  database.run("ALTER TABLE root_access RENAME TO elsewhere");
  const off = { profile: "off", updatedAt: at(2) };
  access.desire(off);
  expect(access.report()).toMatchObject({
    appliedProfile: "off",
    lastError: expect.stringContaining("could not be stored"),
  });
  database.run("ALTER TABLE elsewhere RENAME TO root_access");
  access.desire(off);
  expect(access.report().lastError).toContain("could not be stored");
  steady += seconds(2);
  access.desire(off);
  expect(access.report().lastError).toBeNull();
  expect(accessTo(database, {}).profile()).toBe("off");
});
