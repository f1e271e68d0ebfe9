// Damaged files of the state: told from a disk that cannot be used, set aside under a name of their own, locked all the same.
import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { openDatabase, setDatabaseAside } from "../../../src/platform/database.ts";
import { takeLock } from "../../../src/platform/lock.ts";
import { setAside } from "../../../src/platform/set-aside.ts";

const migration = { name: "one", sql: "CREATE TABLE t (text TEXT) STRICT" };

function scratch() {
  const path = mkdtempSync(join(tmpdir(), "noderax-test-"));
  return {
    at: (name: string): string => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true }),
  };
}

/** A database of 200 kB, as a process leaves it that closed it. */
function written(path: string): void {
  using database = openDatabase(path, [migration]);
  const insert = database.query<null, [string]>("INSERT INTO t VALUES (?)");
  for (let n = 0; n < 200; n++) insert.run("x".repeat(1_000));
}

const codeOf = (open: () => unknown): string => {
  try {
    open();
  } catch (error) {
    return error instanceof AgentError ? error.code : String(error);
  }
  return "opened";
};

test.each<[string, (path: string) => void]>([
  ["empty", (path) => truncateSync(path, 0)],
  ["full of zeros", (path) => writeFileSync(path, new Uint8Array(statSync(path).size))],
  ["garbage", (path) => writeFileSync(path, crypto.getRandomValues(new Uint8Array(50_000)))],
  ["cut in half", (path) => truncateSync(path, statSync(path).size / 2)],
  ["overwritten in the middle", (path) => writeFileSync(path, readFileSync(path).fill(0xff, 40_000, 60_000))],
  [
    "a directory",
    (path) => {
      rmSync(path);
      mkdirSync(path);
    },
  ],
])("a database that is %s is damaged, and a new one can be opened once it is set aside", (_, damage) => {
  using directory = scratch();
  const path = directory.at("state.db");
  written(path);
  damage(path);
  expect(codeOf(() => openDatabase(path, [migration]))).toBe("state.damaged");
  const aside = setDatabaseAside(path, "damaged");
  expect(existsSync(aside)).toBeTrue();
  using fresh = openDatabase(path, [migration]);
  expect(fresh.query("SELECT count(*) AS rows FROM t").get()).toEqual({ rows: 0 });
});

test("a database that cannot be made is not called damaged", () => {
  expect(codeOf(() => openDatabase("/proc/state.db", [migration]))).toBe("state.database");
});

test("two things set aside in one second get two names", () => {
  using directory = scratch();
  const now = new Date(0);
  const names = [1, 2].map(() => {
    writeFileSync(directory.at("file"), "");
    return setAside(directory.at("file"), "damaged", now);
  });
  expect(names).toEqual([
    directory.at("file.damaged-19700101T000000Z"),
    directory.at("file.damaged-19700101T000000Z.2"),
  ]);
});

test("a lock into which somebody wrote is still a lock", () => {
  using directory = scratch();
  const path = directory.at("agent.lock");
  writeFileSync(path, "garbage".repeat(1_000));
  using lock = takeLock(path);
  expect(lock).toBeDefined();
  expect(takeLock(path)).toBeUndefined();
});
