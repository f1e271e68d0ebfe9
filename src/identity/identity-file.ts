// Reads and writes the identity of the node: one 0600 file in the format of the Go agent, replaced
// atomically.
import { chmodSync, lstatSync, readFileSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { errnoOf } from "../lib/errno.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import type { Settings } from "../config/options.ts";
import { writeFileAtomic } from "../platform/atomic-file.ts";
import { setAside } from "../platform/set-aside.ts";

/** `registered_at` is informational. */
const IdentityDocument = v.object({
  node_id: v.string(),
  agent_token: v.string(),
  registered_at: v.optional(v.string()),
});

export interface Identity {
  readonly nodeId: string;
  readonly agentToken: string;
}

/**
 * Undefined without a file, and for one of a Go agent with empty values. Throws "identity.unreadable" for any
 * other content.
 */
export function readIdentity(path: string): Identity | undefined {
  const text = readIfThere(path);
  if (text === undefined || text.trim() === "") return undefined;
  const parsed = v.safeParse(IdentityDocument, parseJson(text, path));
  if (!parsed.success) throw unreadable(path, "it has no node_id and agent_token");
  const { node_id: nodeId, agent_token: agentToken } = parsed.output;
  if (nodeId === "" || agentToken === "") return undefined;
  closeToOthers(path);
  return { nodeId, agentToken };
}

/**
 * Returns the identity in use: `node_id` and `agent_token` of the configuration if both are set, else the
 * identity file.
 */
export function knownIdentity(
  settings: Pick<Settings, "node_id" | "agent_token" | "state_file">,
): Identity | undefined {
  const { node_id: nodeId, agent_token: agentToken } = settings;
  if (nodeId !== undefined && agentToken !== undefined) return { nodeId, agentToken };
  return readIdentity(settings.state_file);
}

/** Sets mode 0600 if the file is ours or we are root. */
function closeToOthers(path: string): void {
  const { mode, uid } = statSync(path);
  if ((mode & 0o077) !== 0 && [0, uid].includes(process.geteuid?.() ?? uid)) chmodSync(path, 0o600);
}

/** Writes the identity file atomically. A directory in its place is set aside. */
export function writeIdentity(path: string, { nodeId, agentToken }: Identity, now: Date): void {
  const document = { node_id: nodeId, agent_token: agentToken, registered_at: now.toISOString() };
  // A directory cannot be replaced by a file.
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true) setAside(path, "damaged");
  writeFileAtomic(path, `${JSON.stringify(document, null, 2)}\n`);
}

/** An enrollment that waits for approval; kept so that `enroll` can continue after an interruption. */
const PendingDocument = v.object({
  api_url: v.string(),
  email: v.string(),
  hostname: v.string(),
  token: v.string(),
  expires_at: v.string(),
});
export type PendingEnrollment = v.InferOutput<typeof PendingDocument>;

const pendingPath = (stateFile: string): string => join(dirname(stateFile), "pending_enrollment.json");

/** Undefined without a file, and for one that cannot be parsed: a new enrollment replaces it. */
export function readPending(stateFile: string): PendingEnrollment | undefined {
  const text = readIfThere(pendingPath(stateFile));
  if (text === undefined) return undefined;
  try {
    const parsed = v.safeParse(PendingDocument, JSON.parse(text));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

/** Records an enrollment that waits for approval. */
export function writePending(stateFile: string, pending: PendingEnrollment): void {
  writeFileAtomic(pendingPath(stateFile), `${JSON.stringify(pending, null, 2)}\n`);
}

/** Removes the record of a pending enrollment, if there is one. */
export function clearPending(stateFile: string): void {
  rmSync(pendingPath(stateFile), { force: true });
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw unreadable(path, messageOf(error));
  }
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw unreadable(path, "it is not JSON");
  }
}

function unreadable(path: string, why: string): AgentError {
  return new AgentError("identity.unreadable", `the identity file ${path} cannot be used: ${why}`, {
    hint: "Restore it, or enroll this machine again:  noderax-agent enroll --force",
  });
}
