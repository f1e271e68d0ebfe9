// What the package part finds out about a machine: its manager, the holders of locks, what has to be restarted, what changed.
import { describe, expect, test } from "bun:test";
import { apt } from "../../../src/packages/apt.ts";
import { changeLines, changesBetween } from "../../../src/packages/changes.ts";
import { detectManager, distributionOf } from "../../../src/packages/detect.ts";
import { previewChanges, ranked } from "../../../src/packages/inquire.ts";
import { describeHolder, parseLocks, unitFrom } from "../../../src/packages/lock-holder.ts";
import type {
  InstalledPackage,
  PackageAction,
  PackageStatus,
  PlannedChange,
} from "../../../src/packages/adapter.ts";
import { parseOsRelease } from "../../../src/platform/host.ts";
import { newerKernel, runsOldCode } from "../../../src/packages/restart-needed.ts";

const machine = (programs: string[], distribution: string[], paths: string[] = []) => ({
  has: (program: string) => programs.includes(program),
  exists: (path: string) => paths.includes(path),
  distribution,
});

describe("the manager of a machine", () => {
  const everything = ["apt-get", "dpkg-query", "dnf", "rpm", "zypper", "pacman", "apk"];

  test.each([
    [["debian"], "apt"],
    [["linuxmint", "ubuntu", "debian"], "apt"],
    [["rocky", "rhel", "centos", "fedora"], "dnf"],
    [["opensuse-leap", "suse", "opensuse"], "zypper"],
    [["manjaro", "arch"], "pacman"],
    [["alpine"], "apk"],
  ])("%j with the programs of all: %s", (distribution, name) => {
    const found = detectManager(machine(everything, distribution, ["/lib/apk/db/installed"]));
    expect(found.manager?.name).toBe(name as "apt");
    expect(found.immutable).toBeUndefined();
  });

  test("an unknown distribution has the one whose programs are there", () => {
    expect(detectManager(machine(["pacman"], ["mine"])).manager?.name).toBe("pacman");
    expect(detectManager(machine([], ["mine"])).manager).toBeUndefined();
  });

  test("dnf 5 is taken before dnf 4", () => {
    const { manager } = detectManager(machine(["dnf", "dnf5", "rpm"], ["fedora"]));
    expect(manager?.list.argv[0]).toBe("rpm");
    expect(manager?.apply("install", ["a"])[0]).toBe("dnf5");
  });

  test.each([
    [machine(["dnf", "rpm"], ["fedora"], ["/run/ostree-booted"]), "rpm-ostree install"],
    [machine([], ["nixos"]), "nixos-rebuild switch"],
    [
      machine(["zypper", "rpm", "transactional-update"], ["opensuse-microos", "suse"]),
      "transactional-update pkg install",
    ],
    [machine(["pacman", "steamos-readonly"], ["steamos", "arch"]), "flatpak install"],
    [machine([], ["flatcar", "coreos"]), "container"],
  ])("%#: an immutable system names its own way", (facts, way) => {
    expect(detectManager(facts).immutable).toContain(way);
  });

  test("the distribution is read with and without quotes", () => {
    const of = (text: string): string[] => distributionOf(parseOsRelease(text));
    expect(of('NAME="x"\nID="rocky"\nID_LIKE="rhel centos fedora"\n')).toEqual([
      "rocky",
      "rhel",
      "centos",
      "fedora",
    ]);
    expect(of("ID=debian\n")).toEqual(["debian"]);
    expect(of("")).toEqual([]);
  });
});

describe("the holder of a lock", () => {
  test("entries of /proc/locks, without those who wait", () => {
    const text = [
      "1: POSIX  ADVISORY  WRITE 1719 fe:00:131234 0 EOF",
      "1: -> POSIX  ADVISORY  WRITE 1800 fe:00:131234 0 EOF",
      "2: FLOCK  ADVISORY  WRITE 42 00:1a:77 0 EOF",
      "3: OFDLCK ADVISORY  READ  -1 00:06:3 0 EOF",
      "",
    ].join("\n");
    expect(parseLocks(text)).toEqual([
      { pid: 1719, device: "fe:00", inode: 131234 },
      { pid: 42, device: "00:1a", inode: 77 },
      { pid: -1, device: "00:06", inode: 3 },
    ]);
  });

  test("program, pid and age of a process", () => {
    expect(describeHolder({ path: "/x", pid: process.pid })).toMatch(
      new RegExp(`bun.* \\(pid ${process.pid}, .*running for \\d+s\\)|bun.*pid ${process.pid}`),
    );
    expect(describeHolder({ path: "/x", pid: undefined })).toContain(
      "/x: a process outside of this container",
    );
  });

  test.each([
    ["0::/system.slice/apt-daily-upgrade.service\n", "apt-daily-upgrade.service"],
    ["0::/user.slice/user-0.slice/user@0.service/app.slice/run-u5.scope\n", "run-u5.scope"],
    ["12:pids:/a.service\n0::/\n", "a.service"],
    ["0::/\n", undefined],
  ])("the unit in %j", (cgroup, unit) => {
    expect(unitFrom(cgroup)).toBe(unit);
  });
});

describe("what has to be restarted", () => {
  test.each([
    ["7f0 r-xp 00000000 fe:00 123 /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)", true],
    ["7f0-7f1 r-xp 00000000 fe:00 123    /usr/lib/libssl.so.3 (deleted)\n", true],
    ["7f0-7f1 r--p 00000000 fe:00 123    /usr/lib/libssl.so.3 (deleted)\n", false],
    ["7f0-7f1 r-xp 00000000 fe:00 123    /usr/lib/libssl.so.3\n", false],
    ["7f0-7f1 rw-s 00000000 00:01 123    /dev/zero (deleted)\n", false],
    ["7f0-7f1 r-xp 00000000 00:01 123    /memfd:jit (deleted)\n", false],
    ["7f0-7f1 r-xp 00000000 00:01 123    /tmp/jit.so (deleted)\n", false],
  ])("%j", (maps, isOld) => {
    expect(runsOldCode(maps)).toBe(isOld);
  });

  test.each([
    ["6.1.0-18-amd64", ["6.1.0-18-amd64", "6.1.0-21-amd64"], "6.1.0-21-amd64"],
    ["6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-10-amd64"], "6.1.0-10-amd64"],
    ["6.1.0-18-amd64", ["6.1.0-18-amd64", "6.1.0-17-amd64"], undefined],
    ["6.1.0-18-amd64", ["6.9.0-1-cloud-amd64"], undefined],
    ["6.1.0-18-amd64", [], undefined],
  ])("running %s with %j", (running, installed, newer) => {
    expect(newerKernel(running, installed)).toBe(newer);
  });
});

const pkg = (name: string, version: string, status: PackageStatus = "installed"): InstalledPackage => ({
  name,
  version,
  architecture: "amd64",
  description: "",
  status,
});

describe("what changed", () => {
  test("installed, upgraded, removed and broken", () => {
    const before = [pkg("stays", "1"), pkg("goes", "1"), pkg("old", "1")];
    const after = [pkg("stays", "1"), pkg("old", "2"), pkg("new", "1", "broken")];
    expect(changesBetween(before, after)).toEqual({
      installed: [{ name: "new", version: "1" }],
      upgraded: [{ name: "old", from: "1", to: "2" }],
      removed: [{ name: "goes", version: "1" }],
      purged: [],
      broken: [{ name: "new", version: "1" }],
    });
  });

  test("a package that left its configuration is removed, and purged when that goes, too", () => {
    const [here, left] = [pkg("a", "1"), pkg("a", "1", "config-files")];
    expect(changesBetween([here], [left]).removed).toEqual([{ name: "a", version: "1" }]);
    expect(changesBetween([left], []).purged).toEqual([{ name: "a", version: "1" }]);
    expect(changesBetween([left], [here]).installed).toEqual([{ name: "a", version: "1" }]);
    expect(changesBetween([left], [here]).purged).toEqual([]);
  });

  test("kernels that stand side by side come and go by themselves", () => {
    const changes = changesBetween(
      [pkg("kernel", "1"), pkg("kernel", "2")],
      [pkg("kernel", "2"), pkg("kernel", "3"), pkg("kernel", "4")],
    );
    expect(changes.installed.map(({ version }) => version)).toEqual(["3", "4"]);
    expect(changes.removed.map(({ version }) => version)).toEqual(["1"]);
  });

  test("the log names both versions of an upgrade", () => {
    const lines = changeLines(changesBetween([pkg("a", "1"), pkg("b", "1")], [pkg("a", "2")]));
    expect(lines).toEqual(["upgraded a 1 → 2", "removed b 1"]);
  });
});

test("the best match of a search comes first, and each name once", () => {
  const found = ["libcurl4", "python3-pycurl", "curl", "curlftpfs", "wget", "curl"].map((name) => ({
    name,
    version: "",
    description: "",
  }));
  expect(ranked(found, ["curl"]).map(({ name }) => name)).toEqual([
    "curl",
    "curlftpfs",
    "libcurl4",
    "python3-pycurl",
    "wget",
  ]);
});

describe("the warnings of a preview", () => {
  const installed = (name: string, status: PackageStatus = "installed"): InstalledPackage => ({
    name,
    version: "1.0",
    architecture: "amd64",
    description: "",
    status,
  });
  const warningsOf = async (
    action: PackageAction,
    names: string[],
    changes: PlannedChange[],
    packages: InstalledPackage[],
  ): Promise<readonly string[]> => {
    const manager = {
      ...apt,
      list: { argv: ["true"], parse: () => packages },
      preview: () => ({ argv: ["true"], parse: () => changes }),
    };
    return (await previewChanges(manager, action, names)).warnings;
  };

  test("a package that is asked for with its architecture is no surprise", async () => {
    const changes: PlannedChange[] = [
      { change: "remove", name: "libx:i386" },
      { change: "remove", name: "liby" },
      { change: "remove", name: "needs-both" },
    ];
    expect(await warningsOf("remove", ["libx:i386", "liby:amd64"], changes, [])).toEqual([
      "this also removes needs-both",
    ]);
  });

  test("a held package is named, also when a version or an architecture is asked for", async () => {
    const held = [installed("nginx", "held"), installed("libc6:amd64", "held"), installed("curl")];
    expect(await warningsOf("install", ["nginx=2.0", "libc6", "curl"], [], held)).toEqual([
      "nginx is held: it is not changed until apt-mark unhold nginx",
      "libc6:amd64 is held: it is not changed until apt-mark unhold libc6:amd64",
    ]);
  });
});
