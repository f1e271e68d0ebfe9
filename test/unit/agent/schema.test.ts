// src/agent/schema.sql shows what the migrations make, and an agent of before can work with what a later one has made.
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SCHEMA_PATH, renderSchema } from "../../../.ci/schema.ts";
import { momentNow } from "../../../src/platform/moment.ts";
import { AGENT_MIGRATIONS } from "../../../src/agent/schema.ts";
import { type Migration, openDatabase } from "../../../src/platform/database.ts";
import { createJournal } from "../../../src/tasks/journal.ts";

test("schema.sql is the schema that the migrations make (mend it with: npm run format)", () => {
  expect(readFileSync(SCHEMA_PATH, "utf8")).toBe(renderSchema());
});

/** From before the first release: no agent that can be rolled back to lacks them. Nothing is added here. */
const NOT_ONLY_ADDING = ["journal-2", "journal-4"];

/** A table, an index, or a column that rows of an agent of before may lack. */
const ADDS =
  /^(CREATE (TABLE|INDEX|UNIQUE INDEX) |ALTER TABLE \w+ ADD COLUMN \w+ \w+( NOT NULL DEFAULT \S+| DEFAULT \S+)?$)/;

const faultsOf = (migrations: readonly Migration[]): string[] =>
  migrations
    .filter(({ name }) => !NOT_ONLY_ADDING.includes(name))
    .flatMap(({ name, sql }) =>
      sql
        .split(";")
        .map((statement) => statement.trim().replaceAll(/\s+/g, " "))
        .filter((statement) => statement !== "" && !ADDS.test(statement))
        .map((statement) => `${name}: ${statement}`),
    );

test("every migration only adds: an update is rolled back to an agent that does not know it", () => {
  expect(faultsOf(AGENT_MIGRATIONS)).toEqual([]);
  const sql = (text: string): string[] => faultsOf([{ name: "later", sql: text }]);
  expect(sql("ALTER TABLE tasks DROP COLUMN launch")).toHaveLength(1);
  expect(sql("ALTER TABLE tasks RENAME COLUMN launch TO began")).toHaveLength(1);
  expect(sql("ALTER TABLE tasks ADD COLUMN colour TEXT NOT NULL")).toHaveLength(1);
  expect(sql("ALTER TABLE tasks ADD COLUMN colour TEXT; CREATE TABLE a (b TEXT)")).toEqual([]);
});

test("an agent of before opens the database of a later one, and writes to it", () => {
  const directory = mkdtempSync(join(tmpdir(), "schema-"));
  try {
    const path = join(directory, "state.db");
    const later: Migration = {
      name: "later-1",
      sql: "ALTER TABLE tasks ADD COLUMN colour TEXT; CREATE TABLE colours (name TEXT) STRICT",
    };
    openDatabase(path, [...AGENT_MIGRATIONS, later]).close();
    using database = openDatabase(path, AGENT_MIGRATIONS);
    createJournal(database).claimed({ id: "a", type: "shell.exec", payload: {} }, momentNow());
    expect(createJournal(database).find("a")?.phase).toBe("claimed");
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
