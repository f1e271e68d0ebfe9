// Whether root may use what lies at a path, on a real file system: owners, permissions, links, and taking over.
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isRoot } from "../../../src/platform/account.ts";
import { holdDirectory, makePrivateDirectory } from "../../../src/platform/private-directory.ts";
import { ownerInside, readChain } from "../../../src/platform/trust/chain.ts";
import { distrustOf, requireTrusted, secure, sharedAbove } from "../../../src/platform/trust/root-trust.ts";

const OTHER = 65_534;

function scratch(): Disposable & { readonly path: string; readonly at: (...names: string[]) => string } {
  const path = mkdtempSync(join(tmpdir(), "noderax-test-"));
  return {
    path,
    at: (...names) => join(path, ...names),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}

const names = (path: string): string[] => readChain(path).map((step) => step.path);

describe("the way to a path", () => {
  test("shows links, the chains of their targets, and the place they end at last", () => {
    using directory = scratch();
    const { path, at } = directory;
    mkdirSync(at("a/b"), { recursive: true });
    writeFileSync(at("a/b/file"), "");
    symlinkSync("../a/b", at("a/link"));
    symlinkSync(path, at("back"));
    const above = names(path);
    expect(names(at("a/link/file"))).toEqual([
      ...above,
      at("a"),
      at("a/link"),
      path,
      at("a"),
      at("a/b"),
      at("a/b/file"),
    ]);
    expect(names(at("back")).at(-1)).toBe(path);
    expect(readChain(at("a/nothing/more")).at(-1)).toMatchObject({ path: at("a/nothing"), kind: "missing" });
  });

  test.each([
    ["of the whole machine", "         0          0 4294967295\n", 65_534],
    ["of a container with a range of users", "0 100000 65536\n", 65_534],
    ["of one user, outside of whom nobody is known", "         0       1000          1\n", 0],
  ])("in a namespace %s (%j), the overflow user counts as %p", (_, map, owner) => {
    expect(ownerInside(65_534, map)).toBe(owner);
    expect(ownerInside(1_000, map)).toBe(1_000);
  });

  test("does not go round in circles", () => {
    using directory = scratch();
    symlinkSync("loop", directory.at("loop"));
    expect(() => readChain(directory.at("loop"))).toThrow("too many symbolic links");
  });
});

describe.skipIf(!isRoot())("root (needs root)", () => {
  test("trusts a file of its own in a sticky directory such as /tmp, and says that it is shared", () => {
    using directory = scratch();
    mkdirSync(directory.at("tmp/mine"), { recursive: true });
    chmodSync(directory.at("tmp"), 0o1777);
    writeFileSync(directory.at("tmp/config.json"), "{}");
    expect(distrustOf(directory.at("tmp/config.json"))).toBeUndefined();
    expect(sharedAbove(directory.at("tmp/mine"))).toContain(directory.at("tmp"));
    // Itself, it is no place that only root can change.
    expect(distrustOf(directory.at("tmp"))?.problem).toBe(
      `${directory.at("tmp")} can be written by others than root`,
    );
  });

  test("trusts no executable in a directory of its own that everybody may write to, where it can be exchanged", () => {
    using directory = scratch();
    writeFileSync(directory.at("program"), "");
    chmodSync(directory.path, 0o777);
    expect(distrustOf(directory.at("program"))?.mend).toBe(`chmod go-w ${directory.path}`);
    expect(distrustOf(directory.at("program"), { passShared: true })).toBeUndefined();
  });

  test("does not trust a file of its own in a directory that another user can rename", () => {
    using directory = scratch();
    mkdirSync(directory.at("home/data"), { recursive: true });
    writeFileSync(directory.at("home/data/file"), "");
    chownSync(directory.at("home"), OTHER, OTHER);
    expect(() => requireTrusted(directory.at("home/data/file"), "configuration")).toThrow(
      `configuration: ${directory.at("home/data/file")} must not be used by root: ${directory.at("home")} belongs to nobody`,
    );
  });

  test.each([
    ["into a directory of another user", "theirs/file"],
    ["out of a directory of another user", "theirs/link"],
  ])("does not trust a link that leads %s", (_, path) => {
    using directory = scratch();
    mkdirSync(directory.at("theirs"));
    writeFileSync(directory.at("mine"), "");
    writeFileSync(directory.at("theirs/file"), "");
    symlinkSync(directory.at("mine"), directory.at("theirs/link"));
    symlinkSync(directory.at(path), directory.at("link"));
    chownSync(directory.at("theirs"), OTHER, OTHER);
    expect(distrustOf(directory.at("link"))?.problem).toBe(`${directory.at("theirs")} belongs to nobody`);
  });

  test("does not trust another user's link in a directory that everybody may write to", () => {
    using directory = scratch();
    chmodSync(directory.path, 0o1777);
    writeFileSync(directory.at("mine"), "");
    symlinkSync("mine", directory.at("link"));
    lchownSync(directory.at("link"), OTHER, OTHER);
    expect(distrustOf(directory.at("link"))?.mend).toBe(`chown -h root: ${directory.at("link")}`);
    expect(distrustOf(directory.at("mine"))).toBeUndefined();
  });

  test("takes over what is the agent's own, directories first, and says so", () => {
    using directory = scratch();
    mkdirSync(directory.at("etc"));
    writeFileSync(directory.at("etc/config.json"), "{}", { mode: 0o600 });
    for (const path of ["etc", "etc/config.json"]) chownSync(directory.at(path), OTHER, OTHER);
    chmodSync(directory.at("etc"), 0o775);
    const isOwn = ({ path }: { path: string }): boolean => path.startsWith(directory.at("etc"));
    expect(secure(directory.at("etc/config.json"), "configuration", { isOwn })).toEqual([
      `${directory.at("etc")} belonged to nobody, who could change it until now; it is root's now`,
      `${directory.at("etc/config.json")} belonged to nobody, who could change it until now; it is root's now`,
    ]);
    expect([statSync(directory.at("etc")).uid, statSync(directory.at("etc")).mode & 0o777]).toEqual([
      0, 0o755,
    ]);
    expect(statSync(directory.at("etc/config.json"))).toMatchObject({ uid: 0, gid: 0 });
  });

  test("is not steered by a process that still has a file open that it took over", () => {
    using directory = scratch();
    const path = directory.at("config.json");
    writeFileSync(path, "good");
    chownSync(path, OTHER, OTHER);
    const open = openSync(path, "r+");
    secure(path, "configuration", { isOwn: () => true });
    writeSync(open, "evil");
    closeSync(open);
    expect(readFileSync(path, "utf8")).toBe("good");
  });

  test("does not take over a file that has another name: it may be somebody else's", () => {
    using directory = scratch();
    writeFileSync(directory.at("victim"), "");
    chownSync(directory.at("victim"), OTHER, OTHER);
    linkSync(directory.at("victim"), directory.at("config.json"));
    expect(() => secure(directory.at("config.json"), "configuration", { isOwn: () => true })).toThrow(
      "hard links",
    );
    expect(lstatSync(directory.at("victim")).uid).toBe(OTHER);
  });
});

describe("a directory that is held", () => {
  test("is made when it is missing, and again after it was removed; what was read in it stays readable", () => {
    using directory = scratch();
    using held = holdDirectory(directory.at("tasks"));
    writeFileSync(join(held.path(), "one"), "1");
    const before = held.path();
    rmSync(directory.at("tasks"), { recursive: true });
    writeFileSync(join(held.path(), "two"), "2");
    expect(readFileSync(directory.at("tasks/two"), "utf8")).toBe("2");
    expect(before).not.toBe(held.path());
  });

  test.skipIf(!isRoot())("is refused when another user's stands in its place (needs root)", () => {
    using directory = scratch();
    using held = holdDirectory(directory.at("tasks"));
    const path = held.path();
    writeFileSync(join(path, "session"), "ours");
    renameSync(directory.at("tasks"), directory.at("away"));
    mkdirSync(directory.at("tasks"));
    writeFileSync(directory.at("tasks/session"), "planted");
    chownSync(directory.at("tasks"), OTHER, OTHER);
    expect(() => held.path()).toThrow("belongs to nobody");
    expect(readFileSync(join(path, "session"), "utf8")).toBe("ours");
  });
});

describe("a directory that was just made", () => {
  test("gets its files also when another one is put in its place, and that is noticed before its path is used", () => {
    using directory = scratch();
    const [path, moved] = [directory.at("run"), directory.at("moved")];
    using made = makePrivateDirectory(path);
    made.check();
    renameSync(path, moved);
    mkdirSync(path);
    made.write("wrapper.sh", "ours");
    expect([readdirSync(path), readdirSync(moved)]).toEqual([[], ["wrapper.sh"]]);
    expect(() => made.check()).toThrow("is another directory now");
  });

  test("is not made where something has its name already", () => {
    using directory = scratch();
    mkdirSync(directory.at("run"));
    symlinkSync(directory.at("run"), directory.at("link"));
    for (const name of ["run", "link"])
      expect(() => makePrivateDirectory(directory.at(name))).toThrow("EEXIST");
  });

  test("takes no file under a name that is there, as a link that somebody planted", () => {
    using directory = scratch();
    using made = makePrivateDirectory(directory.at("run"));
    symlinkSync(directory.at("victim"), directory.at("run/wrapper.sh"));
    expect(() => made.write("wrapper.sh", "ours")).toThrow("EEXIST");
    expect(existsSync(directory.at("victim"))).toBe(false);
  });
});
