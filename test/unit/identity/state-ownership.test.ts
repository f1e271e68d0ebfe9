// What root uses must be root's: a state directory of another agent is taken over, planted files are refused.
import { expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { findAccount, isRoot } from "../../../src/platform/account.ts";
import { silent } from "../../../src/platform/log.ts";
import { secureState } from "../../../src/identity/state-ownership.ts";

const nobody = findAccount("nobody");

function directoryOf(uid: number): { path: string; stateFile: string } & Disposable {
  const root = mkdtempSync(join(tmpdir(), "noderax-test-"));
  const path = join(root, "state");
  mkdirSync(path);
  const stateFile = join(path, "agent_identity.json");
  writeFileSync(stateFile, "{}", { mode: 0o600 });
  for (const one of [path, stateFile]) chownSync(one, uid, uid);
  return { path, stateFile, [Symbol.dispose]: () => rmSync(root, { recursive: true }) };
}

test.skipIf(!isRoot() || nobody === undefined)(
  "the directory and identity that belonged to the task user are root's afterwards (needs root)",
  () => {
    if (nobody === undefined) return;
    using state = directoryOf(nobody.uid);
    expect(secureState(state.stateFile, nobody, silent)).toEqual([]);
    expect([statSync(state.path).uid, statSync(state.path).mode & 0o777]).toEqual([0, 0o711]);
    expect(statSync(state.stateFile).uid).toBe(0);
  },
);

test.skipIf(!isRoot() || nobody === undefined)(
  "files that somebody put there for root are refused (needs root)",
  () => {
    if (nobody === undefined) return;
    using state = directoryOf(nobody.uid);
    mkdirSync(join(state.path, "tasks"));
    chownSync(join(state.path, "tasks"), nobody.uid, nobody.uid);
    expect(() => secureState(state.stateFile, nobody, silent)).toThrow(AgentError);
  },
);

test.skipIf(!isRoot() || nobody === undefined)(
  "a directory open to others is closed, one of a third user is warned about (needs root)",
  () => {
    if (nobody === undefined) return;
    using open = directoryOf(0);
    chmodSync(open.path, 0o777);
    expect(secureState(open.stateFile, nobody, silent)).toEqual([]);
    expect(statSync(open.path).mode & 0o777).toBe(0o755);
    using third = directoryOf(12_345);
    expect(secureState(third.stateFile, nobody, silent)).toEqual([expect.stringContaining("chown root:")]);
  },
);
