// The adapters of package managers: what they make of recorded output, and which command lines they build.
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { apk } from "../../../src/packages/apk.ts";
import { apt } from "../../../src/packages/apt.ts";
import { parseStatusLine, statusText } from "../../../src/packages/apt-status.ts";
import { dnf } from "../../../src/packages/dnf.ts";
import type { PackageManager } from "../../../src/packages/adapter.ts";
import { pacman } from "../../../src/packages/pacman.ts";
import { zypper } from "../../../src/packages/zypper.ts";

const recorded = (name: string): string =>
  readFileSync(join(import.meta.dir, "../../fixtures/packages", `${name}.txt`), "utf8");
const dnf4 = dnf("dnf");
const alpine = apk("/lib/apk/db");
const names = ["nxhello"];

describe("installed packages", () => {
  test("dpkg: held, half-configured and removed packages are told apart", () => {
    expect(apt.list.parse(recorded("apt-list")).map(({ name, status }) => [name, status])).toEqual([
      ["nxfail", "broken"],
      ["nxhello", "held"],
      ["nxlib", "installed"],
      ["nxslow", "config-files"],
    ]);
  });

  test("dpkg: name, version, architecture and description", () => {
    expect(apt.list.parse(recorded("apt-list"))[2]).toEqual({
      name: "nxlib",
      version: "1.0",
      architecture: "all",
      description: "Greeting nxlib",
      status: "installed",
    });
  });

  test("rpm: an epoch stands in the version only where there is one", () => {
    const found = dnf4.list.parse(recorded("dnf-list"));
    expect(found.map(({ name, version }) => [name, version])).toEqual([
      ["nxlib", "1:1.0-1"],
      ["nxhello", "1.0-1"],
    ]);
  });

  test("rpm: keys of repositories are no packages, and a summary may have several lines", () => {
    const key = ["gpg-pubkey", "(none)", "1", "2", "(none)", "gpg(key)"].join("\x1f");
    const tool = ["tool", "0", "1", "2", "x86_64", "one\n\ttwo"].join("\x1f");
    expect(dnf4.list.parse(`${key}\x1e${tool}\x1e`)).toEqual([
      { name: "tool", version: "1-2", architecture: "x86_64", description: "one two", status: "installed" },
    ]);
  });

  test("pacman", () => {
    expect(pacman.list.parse(recorded("pacman-list"))[0]).toEqual({
      name: "nxhello",
      version: "1.0-1",
      architecture: "any",
      description: "A friendly greeting: très",
      status: "installed",
    });
    expect(pacman.list.parse("")).toEqual([]);
  });

  test("apk, by its documentation", () => {
    expect(alpine.list.parse(recorded("apk-installed-from-documentation"))).toEqual([
      {
        name: "alpine-baselayout",
        version: "3.2.0-r23",
        architecture: "x86_64",
        description: "Alpine base dir structure and init scripts",
        status: "installed",
      },
      {
        name: "broken-tool",
        version: "1.0-r0",
        architecture: "x86_64",
        description: "Its post-install script failed",
        status: "broken",
      },
    ]);
  });
});

describe("search", () => {
  test.each<[PackageManager, string, string]>([
    [apt, "apt-search", ""],
    [dnf4, "dnf-search", "2.0-1"],
    [zypper, "zypper-search", ""],
    [pacman, "pacman-search", "1.0-1"],
  ])("%#: finds the package with its description", (manager, fixture, version) => {
    const found = manager.search(["nx"]).parse(recorded(fixture));
    const hello = found.find(({ name }) => name === "nxhello");
    expect(hello?.version).toBe(version);
    expect(hello?.description).toMatch(/^(A friendly greeting|Greeting nxhello)/);
  });

  test("the versions of apt are candidates, those of zypper the newest", () => {
    expect(apt.versions?.(["nx"], names).parse(recorded("apt-versions")).get("nxhello")).toBe("2.0");
    expect(zypper.versions?.(["nx"], names).parse(recorded("zypper-versions")).get("nxhello")).toBe("2.0-1");
  });

  test("apk, by its documentation: names have dashes and digits", () => {
    const found = alpine.search(["jq"]).parse(recorded("apk-search-from-documentation"));
    expect(found.map(({ name, version }) => [name, version])).toEqual([
      ["jq", "1.7.1-r0"],
      ["jq-dev", "1.7.1-r0"],
      ["perl-json", "4.10-r1"],
      ["font-awesome", "4.7.0-r3"],
    ]);
    expect(found[3]?.description).toBe("Iconic font - designed for Bootstrap");
  });

  test("words of a search are no expressions: g++ is looked for as it is", () => {
    expect(apt.search(["g++"]).argv.at(-1)).toBe("g\\+\\+");
    expect(pacman.search(["a.b"]).argv.at(-1)).toBe("a\\.b");
    expect(dnf4.search(["a*[b]"]).argv.at(-1)).toBe("*a??b?*");
  });

  test.each([[apt], [dnf4], [zypper], [pacman], [alpine]])(
    "%#: a word that looks like a flag stands behind --",
    (manager) => {
      const { argv } = manager.search(["--root=/tmp"]);
      expect(argv.indexOf("--")).toBe(argv.length - 2);
    },
  );
});

describe("preview", () => {
  test("apt: dependencies, old versions, and what else goes", () => {
    expect(apt.preview("install", names).parse(recorded("apt-preview-install"))).toEqual([
      { change: "install", name: "nxlib", to: "1.0" },
      { change: "install", name: "nxhello", to: "2.0" },
    ]);
    expect(apt.preview("install", names).parse(recorded("apt-preview-upgrade"))).toEqual([
      { change: "upgrade", name: "nxhello", from: "1.0", to: "2.0" },
    ]);
    expect(apt.preview("remove", names).parse(recorded("apt-preview-remove"))).toEqual([
      { change: "remove", name: "nxhello", from: "1.0" },
      { change: "remove", name: "nxlib", from: "1.0" },
    ]);
    expect(apt.preview("purge", names).parse(recorded("apt-preview-purge"))).toEqual([
      { change: "purge", name: "nxhello", from: "1.0" },
    ]);
  });

  test("dnf: a name that is wider than its column is read whole", () => {
    expect(dnf4.preview("install", names).parse(recorded("dnf-preview-install"))).toEqual([
      { change: "install", name: "nx-a-package-with-a-very-long-name-that-wraps", to: "3.1-1" },
      { change: "install", name: "nxhello", to: "2.0-1" },
      { change: "install", name: "nxlib", to: "1:1.0-1" },
    ]);
    const wrapped = "Installing:\n a-very-long-name\n      noarch  3.1-1  nx  6.4 k\n\nTransaction Summary\n";
    expect(dnf4.preview("install", names).parse(wrapped)).toEqual([
      { change: "install", name: "a-very-long-name", to: "3.1-1" },
    ]);
  });

  test("dnf: dependent packages and unused dependencies go, too", () => {
    expect(dnf4.preview("remove", names).parse(recorded("dnf-preview-remove"))).toEqual([
      { change: "remove", name: "nxlib", from: "1:1.0-1" },
      { change: "remove", name: "nxhello", from: "1.0-1" },
    ]);
  });

  test("zypper: an upgrade has both versions", () => {
    expect(zypper.preview("install", names).parse(recorded("zypper-preview-upgrade"))).toEqual([
      { change: "upgrade", name: "nxhello", from: "1.0-1", to: "2.0-1" },
    ]);
    const noise = "Plugin says: <solvable type='package' name='fake'>\n";
    expect(zypper.preview("remove", names).parse(noise + recorded("zypper-preview-remove"))).toEqual([
      { change: "remove", name: "nxhello", from: "1.0-1" },
      { change: "remove", name: "nxlib", from: "1:1.0-1" },
    ]);
  });

  test("pacman", () => {
    expect(pacman.preview("install", names).parse(recorded("pacman-preview-install"))).toContainEqual({
      change: "install",
      name: "nxhello",
      to: "1.0-1",
    });
  });

  test("apk, by its documentation", () => {
    expect(alpine.preview("install", names).parse(recorded("apk-simulate-from-documentation"))).toEqual([
      { change: "install", name: "oniguruma", to: "6.9.8-r1" },
      { change: "install", name: "jq", to: "1.7.1-r0" },
      { change: "upgrade", name: "busybox", from: "1.36.1-r15", to: "1.36.1-r19" },
      { change: "remove", name: "nano", from: "7.2-r1" },
    ]);
  });
});

describe("names", () => {
  test("apt says which it has: others would be patterns", () => {
    const known = apt.known?.(names).parse(recorded("apt-known"));
    expect(known?.has("nxhello")).toBe(true);
    expect(known?.has("nxnothing")).toBe(false);
    expect(known?.has("n.hello")).toBe(false);
  });

  test.each([[apt], [dnf4], [zypper], [pacman], [alpine]])(
    "%#: stand behind -- wherever they go",
    (manager) => {
      const lines = (["install", "remove", "purge"] as const).flatMap((action) => [
        manager.apply(action, names),
        manager.preview(action, names).argv,
      ]);
      for (const argv of [...lines, manager.download?.(names) ?? ["--", ...names]])
        expect(argv.slice(-2)).toEqual(["--", "nxhello"]);
    },
  );

  test.each([[apt], [dnf4], [zypper], [pacman], [alpine]])("%#: nothing runs through a shell", (manager) => {
    expect(manager.apply("install", names)[0]).not.toMatch(/sh$/);
  });
});

describe("exit statuses of zypper", () => {
  test.each([
    [0, { ok: true }],
    [4, { ok: false }],
    [7, { ok: false, locked: true }],
    [102, { ok: true, rebootRequired: true }],
    [107, { ok: false }],
  ])("%d", (code, meaning) => {
    expect(zypper.exitStatus(code)).toMatchObject(meaning);
  });
});

describe("status lines of apt", () => {
  const linesOf = (fixture: string): string[] => recorded(fixture).split("\n").filter(Boolean);

  test("an installation makes a line for each step, and none twice", () => {
    const shown: string[] = [];
    let last: ReturnType<typeof parseStatusLine>;
    for (const line of linesOf("apt-status-install")) {
      const now = parseStatusLine(line);
      if (now === undefined) throw new Error(line);
      const text = statusText(last, now);
      if (text !== undefined) shown.push(text);
      last = now;
    }
    expect(shown[0]).toBe("[  0 %] Retrieving file 1 of 2");
    expect(shown).toContain("[ 33 %] Unpacking nxhello (amd64)");
    expect(shown.at(-1)).toBe("[ 89 %] Installed nxhello (amd64)");
    expect(new Set(shown).size).toBe(shown.length);
  });

  test("a kept configuration file and a failing script are named", () => {
    const found = linesOf("apt-status-conffile-and-failure").map(parseStatusLine);
    expect(found.find((line) => line?.kind === "conffile")?.subject).toBe("/etc/nxhello.conf");
    expect(found.find((line) => line?.kind === "error")).toEqual({
      kind: "error",
      subject: "nxfail",
      percent: 60,
      text: "installed nxfail package post-installation script subprocess returned error exit status 3",
    });
  });

  test("a name with an architecture, and a text with colons", () => {
    expect(parseStatusLine("pmstatus:libc6:i386:12.5:Unpacking: a: b")).toEqual({
      kind: "work",
      subject: "libc6:i386",
      percent: 12.5,
      text: "Unpacking: a: b",
    });
    expect(parseStatusLine("Get:1 file:/repo ./ nxlib")).toBeUndefined();
  });
});
