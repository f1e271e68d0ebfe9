// A damaged identity comes back from its copy; one that somebody took away stays away.
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { identityCopyPath, keepIdentityCopy } from "../../../src/identity/identity-copy.ts";
import { readIdentity, writeIdentity } from "../../../src/identity/identity-file.ts";
import { scratchDirectory } from "./scratch.ts";

const identity = { nodeId: "0c9f2a4e-0000-4000-8000-000000000001", agentToken: "f".repeat(64) };

function started() {
  const directory = scratchDirectory();
  const path = directory.at("agent_identity.json");
  writeIdentity(path, identity, new Date(0));
  expect(keepIdentityCopy(path)).toBeUndefined();
  return { path, directory, [Symbol.dispose]: () => directory[Symbol.dispose]() };
}

test.each([
  ["empty", (path: string) => writeFileSync(path, "")],
  ["full of zeros", (path: string) => writeFileSync(path, "\0".repeat(200))],
  ["torn", (path: string) => writeFileSync(path, '{"node_id": "0c9')],
  [
    "a directory",
    (path: string) => {
      rmSync(path);
      mkdirSync(path);
    },
  ],
])("an identity file that is %s is set aside and brought back", (_, damage) => {
  using node = started();
  damage(node.path);
  expect(keepIdentityCopy(node.path)).toContain("was damaged: it was brought back from its copy");
  expect(readIdentity(node.path)).toEqual(identity);
  expect(readdirSync(node.directory.path).join()).toContain("agent_identity.json.damaged-");
});

test.each([
  ["was removed", (path: string) => rmSync(path)],
  ["has empty values", (path: string) => writeFileSync(path, '{"node_id":"","agent_token":""}')],
])("an identity that %s is not brought back", (_, change) => {
  using node = started();
  change(node.path);
  expect(keepIdentityCopy(node.path)).toBeUndefined();
  expect(existsSync(node.path) ? readIdentity(node.path) : undefined).toBeUndefined();
});

test("the copy follows a new identity, byte for byte, and is private", () => {
  using node = started();
  writeIdentity(node.path, { ...identity, agentToken: "a".repeat(64) }, new Date(0));
  keepIdentityCopy(node.path);
  expect(readFileSync(identityCopyPath(node.path), "utf8")).toBe(readFileSync(node.path, "utf8"));
});

test("a damaged copy is no help and no harm", () => {
  using node = started();
  writeFileSync(identityCopyPath(node.path), "{");
  writeFileSync(node.path, "\0");
  expect(keepIdentityCopy(node.path)).toBeUndefined();
  expect(readFileSync(node.path, "utf8")).toBe("\0");
});
