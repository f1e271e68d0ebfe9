// What a Go agent left in force is ended, and what is somebody else's is left alone and told of.
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { asGoodAsRoot, groupsOf } from "../../../src/install/go-agent/groups.ts";
import { isOnlyFor, readSudoers, rulesFor } from "../../../src/install/go-agent/sudoers.ts";
import { takeOverGoAgent } from "../../../src/install/go-agent/take-over.ts";
import { type Account, isRoot } from "../../../src/platform/account.ts";

const task: Account = { name: "noderax", uid: 998, gid: 998, home: "/", shell: "/bin/sh" };

describe("the text of a sudoers file", () => {
  test("is the agent's when all its rules are for the agent's account, over comments, aliases and continued lines", () => {
    const text = [
      "# made by the installer",
      "Defaults:noderax !requiretty",
      "Cmnd_Alias NODERAX = /usr/local/libexec/noderax-agent-self-update",
      "noderax ALL=(root) NOPASSWD: NODERAX, \\",
      "    /usr/local/libexec/noderax-agent-root-profile apply off # all",
      "#998 ALL=(root) NOPASSWD: /bin/bash -i",
      "",
    ].join("\n");
    const sudoers = readSudoers(text);
    expect(sudoers.rules.map((rule) => rule.text)).toEqual([
      "noderax ALL=(root) NOPASSWD: NODERAX, /usr/local/libexec/noderax-agent-root-profile apply off",
      "#998 ALL=(root) NOPASSWD: /bin/bash -i",
    ]);
    expect(isOnlyFor(sudoers, ["noderax", "#998"])).toBeTrue();
  });

  test.each([
    ["a rule of another user", "alice ALL=(ALL) ALL"],
    ["a rule for two users", "noderax, alice ALL=(ALL) NOPASSWD: ALL"],
    ["an include", "@includedir /etc/other"],
    ["a global default", "Defaults !authenticate"],
    ["an alias of users", "User_Alias OPS = alice, noderax"],
    ["what nobody understands", "?"],
  ])("is not the agent's alone with %s", (_, line) => {
    expect(isOnlyFor(readSudoers(`noderax ALL=(root) NOPASSWD: ALL\n${line}\n`), ["noderax"])).toBeFalse();
  });

  test("gives a user the rules that need no password, by name, number, group or for all", () => {
    const text = [
      "root ALL=(ALL:ALL) ALL",
      "%wheel ALL=(ALL) NOPASSWD: ALL",
      "%sudo ALL=(ALL:ALL) ALL",
      "alice ALL=(ALL) NOPASSWD: ALL",
      "ALL ALL=(root) NOPASSWD: /sbin/shutdown",
    ].join("\n");
    expect(
      rulesFor(readSudoers(text), ["noderax", "#998", "ALL", "%wheel", "%sudo"]).map((r) => r.text),
    ).toEqual(["%wheel ALL=(ALL) NOPASSWD: ALL", "ALL ALL=(root) NOPASSWD: /sbin/shutdown"]);
  });
});

test("the groups of a user are those that name it and its own", () => {
  const text = "root:x:0:\ndocker:x:990:alice,noderax\nnoderax:x:998:\nother:x:5:noderaxx\n";
  expect(groupsOf(task, text)).toEqual(["docker", "noderax"]);
  expect(asGoodAsRoot(["docker", "noderax"])).toEqual(["docker"]);
});

describe.skipIf(!isRoot())("the take-over (needs root)", () => {
  function machine(files: Readonly<Record<string, string>>) {
    const root = mkdtempSync(join(tmpdir(), "noderax-test-"));
    const at = (path: string): string => join(root, path);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(at(path)), { recursive: true });
      writeFileSync(at(path), text);
    }
    return {
      at,
      takeOver: () => takeOverGoAgent({ task, stateDirectory: at("state"), root }),
      [Symbol.dispose]: () => rmSync(root, { recursive: true }),
    };
  }

  test("removes the sudo rules, the helpers and their orders, and says each", () => {
    const rule = "noderax ALL=(root) NOPASSWD: /usr/bin/bash -i";
    const files = {
      "etc/sudoers.d/noderax-agent":
        "noderax ALL=(root) NOPASSWD: /usr/local/libexec/noderax-agent-self-update\n",
      "etc/sudoers.d/noderax-agent-root-access": `${rule}\n`,
      "usr/local/libexec/noderax-agent-self-update": "#!/bin/sh\n",
      "usr/local/libexec/noderax-agent-task-root": "#!/bin/sh\n",
      "state/task-root-request.txt": "id",
      "state/root_access_state.json": "{}",
    };
    using old = machine({
      ...files,
      "etc/sudoers": "root ALL=(ALL:ALL) ALL\n",
      "state/agent_identity.json": "{}",
    });
    const { done, warnings } = old.takeOver();
    for (const path of Object.keys(files)) {
      expect({ path, there: existsSync(old.at(path)) }).toEqual({ path, there: false });
      expect(done.join("\n")).toContain(old.at(path));
    }
    expect(done.join("\n")).toContain(rule);
    expect(warnings).toEqual([]);
    expect(existsSync(old.at("state/agent_identity.json"))).toBeTrue();
    expect(old.takeOver()).toEqual({ done: [], warnings: [] });
  });

  test("leaves what is not recognised, and warns of it", () => {
    using other = machine({
      "etc/sudoers.d/noderax-agent": "noderax ALL=(ALL) NOPASSWD: ALL\nalice ALL=(ALL) ALL\n",
      "etc/sudoers.d/site": "%noderax ALL=(root) NOPASSWD: /usr/bin/apt-get\n",
      "etc/sudoers.d/old.bak": "noderax ALL=(root) NOPASSWD: ALL\n",
      "etc/group": "docker:x:990:noderax\nnoderax:x:998:\n",
      "usr/local/libexec/noderax-agent-mine": "",
    });
    const { done, warnings } = other.takeOver();
    expect(done).toEqual([]);
    expect(warnings).toEqual([
      expect.stringContaining("etc/sudoers.d/noderax-agent: noderax ALL=(ALL) NOPASSWD: ALL"),
      expect.stringContaining("etc/sudoers.d/site: %noderax"),
      expect.stringContaining("as a member of the group docker"),
      expect.stringContaining("noderax-agent-mine"),
    ]);
    expect(existsSync(other.at("etc/sudoers.d/noderax-agent"))).toBeTrue();
  });
});
