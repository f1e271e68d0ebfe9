// src/agent/schema.sql shows what the migrations make.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { SCHEMA_PATH, renderSchema } from "../../../.ci/schema.ts";

test("schema.sql is the schema that the migrations make (mend it with: npm run format)", () => {
  expect(readFileSync(SCHEMA_PATH, "utf8")).toBe(renderSchema());
});
