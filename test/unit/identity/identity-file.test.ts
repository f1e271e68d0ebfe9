// The identity is one private file, old or new and never half, and the Go agent's is taken over as it is.
import { expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { AgentError } from "../../../src/lib/agent-error.ts";
import {
  clearPending,
  readIdentity,
  readPending,
  writeIdentity,
  writePending,
} from "../../../src/identity/identity-file.ts";
import { scratchDirectory } from "./scratch.ts";

const identity = { nodeId: "0c9f2a4e-0000-4000-8000-000000000001", agentToken: "f".repeat(64) };
const modeOf = (path: string): number => statSync(path).mode & 0o777;

test("what was written is read back, and only its owner can", () => {
  using directory = scratchDirectory();
  const path = directory.at("deep/er/agent_identity.json");
  writeIdentity(path, identity, new Date(0));
  expect(readIdentity(path)).toEqual(identity);
  expect(modeOf(path)).toBe(0o600);
  expect(modeOf(directory.at("deep"))).toBe(0o700);
});

test("a new identity replaces the old one in one step, and nothing is left beside it", () => {
  using directory = scratchDirectory();
  const path = directory.at("agent_identity.json");
  writeIdentity(path, identity, new Date(0));
  const before = statSync(path).ino;
  writeIdentity(path, { ...identity, agentToken: "a".repeat(64) }, new Date(0));
  expect(readIdentity(path)?.agentToken).toBe("a".repeat(64));
  // Another file under the same name: a reader of the old one has it whole.
  expect(statSync(path).ino).not.toBe(before);
  expect(readdirSync(directory.path)).toEqual(["agent_identity.json"]);
});

test("a directory in its place is set aside, and no half file is left", () => {
  using directory = scratchDirectory();
  const path = directory.at("agent_identity.json");
  mkdirSync(join(path, "something"), { recursive: true });
  writeIdentity(path, identity, new Date(0));
  expect(readIdentity(path)).toEqual(identity);
  const [, aside = ""] = readdirSync(directory.path).toSorted();
  expect(aside).toStartWith("agent_identity.json.damaged-");
  expect(readdirSync(directory.at(aside))).toEqual(["something"]);
});

test("the Go agent's file is taken over as it is", () => {
  using directory = scratchDirectory();
  const path = directory.at("agent_identity.json");
  const text = `{"node_id":"${identity.nodeId}","agent_token":"${identity.agentToken}","registered_at":"2026-01-02T03:04:05.678901234Z","more":[1]}`;
  writeFileSync(path, text, { mode: 0o600 });
  expect(readIdentity(path)).toEqual(identity);
  expect(readFileSync(path, "utf8")).toBe(text);
});

test("a file that others may read is closed to them", () => {
  using directory = scratchDirectory();
  const path = directory.at("agent_identity.json");
  writeIdentity(path, identity, new Date(0));
  chmodSync(path, 0o644);
  expect(readIdentity(path)).toEqual(identity);
  expect(modeOf(path)).toBe(0o600);
});

test.each([
  ["no file", undefined],
  ["an empty file", ""],
  ["a blank file", " \n"],
  ["empty values", '{"node_id":"","agent_token":""}'],
  ["a node without a token", '{"node_id":"x","agent_token":""}'],
])("%s is no identity", (_, text) => {
  using directory = scratchDirectory();
  const path = directory.at("agent_identity.json");
  if (text !== undefined) writeFileSync(path, text);
  expect(readIdentity(path)).toBeUndefined();
});

test.each([
  ["torn", '{"node_id": "0c9', "it is not JSON"],
  ["of zeros", "\0".repeat(200), "it is not JSON"],
  ["of another kind", "[]", "it has no node_id and agent_token"],
  ["without a token", '{"node_id": "x"}', "it has no node_id and agent_token"],
])("a file that is %s is not taken for none: enrolling again must be a decision", (_, text, why) => {
  using directory = scratchDirectory();
  const path = directory.at("agent_identity.json");
  writeFileSync(path, text);
  const read = (): unknown => readIdentity(path);
  expect(read).toThrow(why);
  expect(read).toThrow(path);
  try {
    read();
  } catch (error) {
    expect((error as AgentError).code).toBe("identity.unreadable");
    expect((error as AgentError).hint.join()).toContain("enroll --force");
  }
});

test("an enrollment that waits is kept beside the identity, privately, until it is cleared", () => {
  using directory = scratchDirectory();
  const stateFile = directory.at("agent_identity.json");
  const pending = {
    api_url: "https://a",
    email: "a@b.c",
    hostname: "h",
    token: "t",
    expires_at: "2026-01-01",
  };
  expect(readPending(stateFile)).toBeUndefined();
  writePending(stateFile, pending);
  expect(readPending(stateFile)).toEqual(pending);
  expect(modeOf(directory.at("pending_enrollment.json"))).toBe(0o600);
  clearPending(stateFile);
  clearPending(stateFile);
  expect(existsSync(directory.at("pending_enrollment.json"))).toBe(false);
});

test.each(["{", "{}", "null"])(
  "a waiting enrollment that cannot be understood (%p) counts as none",
  (text) => {
    using directory = scratchDirectory();
    writeFileSync(directory.at("pending_enrollment.json"), text);
    expect(readPending(directory.at("agent_identity.json"))).toBeUndefined();
  },
);
