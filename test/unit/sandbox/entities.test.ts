// The one column table of an entity: what databases and documents derive from it.
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { documentOf, entity, hidden, integer, key, nullable, text } from "../../../src/sandbox/column.ts";
import { EnrollmentDocument, NodeDocument, TaskDocument } from "../../../src/sandbox/documents.ts";
import type { CaraNodeRow } from "../../../src/sandbox/entities.ts";
import { openStore } from "../../../src/sandbox/store.ts";

describe("documentOf", () => {
  const made = documentOf(
    entity("things", { id: key, runAsRoot: integer, exitCode: nullable(integer), token: hidden(text) }),
  );

  test("names the shown columns in snake_case and leaves the hidden ones out", () => {
    expect(made.of({ id: "a", runAsRoot: 1, exitCode: null, token: "secret" })).toEqual({
      id: "a",
      run_as_root: 1,
      exit_code: null,
    });
  });

  test("refuses null for a column that is not nullable", () => {
    expect(v.is(made.schema, { id: "a", run_as_root: 1, exit_code: null })).toBe(true);
    expect(v.is(made.schema, { id: "a", run_as_root: null, exit_code: null })).toBe(false);
  });

  test.each([
    ["a node", NodeDocument, "agent_token"],
    ["an enrollment", EnrollmentDocument, "token"],
    ["a task", TaskDocument, "claim_token"],
  ])("the document of %s has no credentials", (_, schema, secret) => {
    expect(Object.keys(schema.entries)).toContain("id");
    expect(Object.keys(schema.entries)).not.toContain(secret);
  });
});

test("a database of an older version gets the columns it lacks and loses those that are gone", () => {
  const directory = mkdtempSync(join(tmpdir(), "sandbox-test-"));
  const old = new Database(join(directory, "sandbox.db"), { create: true });
  old.run(`CREATE TABLE cara_nodes (
    name TEXT PRIMARY KEY, hostname TEXT NOT NULL, unschedulable INTEGER NOT NULL, state TEXT NOT NULL,
    conditions TEXT NOT NULL, createdAt TEXT NOT NULL, rack TEXT NOT NULL
  ) STRICT`);
  old.run("INSERT INTO cara_nodes VALUES ('a', 'a.lan', 0, 'Ready', '[]', '2026-01-01T00:00:00Z', 'r1')");
  old.close();

  const store = openStore(directory);
  try {
    const node = store.caraNodes.get("a");
    expect(node).toMatchObject({
      name: "a",
      hostname: "a.lan",
      conditions: [],
      labels: null,
      lastHeartbeat: null,
    });
    expect(node).not.toHaveProperty("rack");
    store.caraNodes.insert(newNode("b"));
    expect(store.caraNodes.count("1")).toBe(2);
  } finally {
    store.close();
    rmSync(directory, { recursive: true });
  }
});

const newNode = (name: string): CaraNodeRow => ({
  name,
  labels: { zone: "z" },
  annotations: null,
  hostname: `${name}.lan`,
  unschedulable: false,
  state: "Ready",
  network: null,
  capacity: null,
  allocatable: null,
  info: null,
  conditions: [],
  lastHeartbeat: null,
  createdAt: "2026-01-01T00:00:00Z",
  updatedAt: null,
});
