// What root uses must be root's: a state directory of another account is taken over, planted files are not used.
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { type Account, isRoot } from "../../../src/platform/account.ts";
import { silent } from "../../../src/platform/log.ts";
import { secureState } from "../../../src/identity/state-ownership.ts";

const nobody: Account = { name: "nobody", uid: 65_534, gid: 65_534, home: "/", shell: "/bin/sh" };
const THIRD = 12_345;

function directoryOf(uid: number) {
  const root = mkdtempSync(join(tmpdir(), "noderax-test-"));
  const path = join(root, "state");
  mkdirSync(path);
  const stateFile = join(path, "agent_identity.json");
  writeFileSync(stateFile, "{}", { mode: 0o600 });
  for (const one of [path, stateFile]) chownSync(one, uid, uid);
  return {
    root,
    path,
    stateFile,
    at: (name: string): string => join(path, name),
    /** A file of that user's. */
    holds(name: string, text = "x"): void {
      writeFileSync(join(path, name), text);
      chownSync(join(path, name), uid, uid);
    },
    [Symbol.dispose]: () => rmSync(root, { recursive: true }),
  };
}

const refusal = (act: () => unknown): AgentError => {
  try {
    act();
  } catch (error) {
    if (error instanceof AgentError) return error;
  }
  throw new Error("it was not refused");
};

describe.skipIf(!isRoot())("as root (needs root)", () => {
  test("the directory and identity that belonged to the task user are root's afterwards", () => {
    using state = directoryOf(nobody.uid);
    expect(secureState(state.stateFile, nobody, silent).formerDatabase).toBeUndefined();
    expect([statSync(state.path).uid, statSync(state.path).mode & 0o777]).toEqual([0, 0o711]);
    expect([statSync(state.stateFile).uid, readFileSync(state.stateFile, "utf8")]).toEqual([0, "{}"]);
  });

  test("database, lock, socket and runs of the task user are set aside, not used and not refused", () => {
    using state = directoryOf(nobody.uid);
    for (const name of ["state.db", "state.db-wal", "agent.lock"]) state.holds(name);
    mkdirSync(state.at("tasks"));
    chownSync(state.at("tasks"), nobody.uid, nobody.uid);
    const { formerDatabase } = secureState(state.stateFile, nobody, silent);
    expect(formerDatabase).toMatch(/state\.db\.of-nobody-\d{8}T\d{6}Z$/);
    expect(statSync(formerDatabase ?? "")).toMatchObject({ uid: 0, mode: 0o100600 });
    expect(readdirSync(state.path).filter((name) => !name.includes(".of-nobody-"))).toEqual([
      "agent_identity.json",
    ]);
  });

  test("a link that the task user put in the place of a file is not followed", () => {
    using state = directoryOf(nobody.uid);
    const victim = join(state.root, "victim");
    writeFileSync(victim, "", { mode: 0o644 });
    symlinkSync(victim, state.at("agent.lock"));
    Bun.spawnSync(["chown", "-h", "nobody", state.at("agent.lock")]);
    secureState(state.stateFile, nobody, silent);
    expect(existsSync(state.at("agent.lock"))).toBeFalse();
    expect(statSync(victim).mode & 0o777).toBe(0o644);
  });

  test("a directory above that the task user owns is refused, with the command that mends it", () => {
    using state = directoryOf(0);
    chownSync(state.root, nobody.uid, nobody.uid);
    const error = refusal(() => secureState(state.stateFile, nobody, silent));
    expect(error.message).toEndWith(
      `${state.root} belongs to nobody; mend it with: chown root: ${state.root}`,
    );
    expect(error.exit).toBe(5);
  });

  test("the directory, or a file in it, of a third user is refused", () => {
    using directory = directoryOf(THIRD);
    expect(refusal(() => secureState(directory.stateFile, nobody, silent)).code).toBe("trust.refused");
    using file = directoryOf(0);
    writeFileSync(file.at("state.db"), "");
    chownSync(file.at("state.db"), THIRD, THIRD);
    expect(refusal(() => secureState(file.stateFile, nobody, silent)).code).toBe("state.planted");
  });

  test("a directory of its own that is open to others is closed", () => {
    using open = directoryOf(0);
    chmodSync(open.path, 0o777);
    secureState(open.stateFile, nobody, silent);
    expect(statSync(open.path).mode & 0o022).toBe(0);
  });

  test.each([0o777, 0o1777])(
    "a directory that the task user could make, below one of mode %o, is not taken over",
    (mode) => {
      using planted = directoryOf(nobody.uid);
      chmodSync(planted.root, mode);
      expect(refusal(() => secureState(planted.stateFile, nobody, silent)).code).toBe("trust.refused");
      expect(statSync(planted.stateFile).uid).toBe(nobody.uid);
    },
  );

  test("/tmp itself is refused as a state directory, and left as it is", () => {
    using shared = directoryOf(0);
    chmodSync(shared.path, 0o1777);
    expect(refusal(() => secureState(shared.stateFile, nobody, silent)).message).toContain(
      "can be written by others than root",
    );
    expect(statSync(shared.path).mode & 0o7777).toBe(0o1777);
  });

  test("a directory that is missing is made, for root alone", () => {
    using state = directoryOf(0);
    secureState(state.at("deep/er/agent_identity.json"), nobody, silent);
    for (const name of ["deep", "deep/er"])
      expect(statSync(state.at(name))).toMatchObject({ uid: 0, mode: 0o040700 });
  });
});
