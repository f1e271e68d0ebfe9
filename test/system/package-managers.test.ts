// The real dnf, zypper and pacman, with repositories made for the test, in machines that are thrown away.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { pacmanRepository, rpmRepository } from "../support/rpm-packages.ts";
import { AGENT_HERE, Throwaway, missingForThrowaway } from "../support/throwaway.ts";

setDefaultTimeout(240_000);

const lacking = (...programs: string[]): string =>
  [
    ...(missingForThrowaway === undefined ? [] : [missingForThrowaway]),
    ...programs.filter((program) => Bun.which(program) === null),
  ].join(" and ");

const noDnf = lacking("dnf", "rpmbuild", "createrepo_c");
const noZypper = lacking("zypper", "rpmbuild", "createrepo_c");
const noPacman = lacking("pacman");

async function apply(machine: Throwaway, action: string, ...names: string[]) {
  const line = [
    "sh",
    "-c",
    'exec "$@" 4>/tmp/report',
    "sh",
    AGENT_HERE,
    "packages",
    "apply",
    action,
    ...names,
  ];
  const ran = await machine.run(line);
  const text = (await machine.run(["cat", "/tmp/report"])).stdout;
  return { ...ran, report: JSON.parse(text || "{}") as Record<string, unknown> };
}

async function preview(machine: Throwaway, action: string, ...names: string[]) {
  const ran = await machine.run([AGENT_HERE, "packages", "preview", action, "--json", ...names]);
  if (ran.code !== 0) throw new Error(ran.stderr);
  return (JSON.parse(ran.stdout) as { changes: unknown[] }).changes;
}

/** What dnf and zypper have in common. */
async function upgradesAndRemoves(machine: Throwaway, manager: string, pinned: string): Promise<void> {
  expect(await preview(machine, "install", "nxhello")).toEqual([
    { change: "install", name: "nxhello", to: "2.0-1" },
    { change: "install", name: "nxlib", to: "1:1.0-1" },
  ]);
  const first = await apply(machine, "install", pinned);
  expect(first.report).toMatchObject({
    manager,
    installed: expect.arrayContaining([
      { name: "nxhello", version: "1.0-1" },
      { name: "nxlib", version: "1:1.0-1" },
    ]),
  });
  expect(first.report["error"]).toBeUndefined();
  const newest = manager === "dnf" ? "nxhello-2.0" : "nxhello";
  expect(await preview(machine, "install", newest)).toEqual([
    { change: "upgrade", name: "nxhello", from: "1.0-1", to: "2.0-1" },
  ]);
  const second = await apply(machine, "install", newest);
  expect(second.report).toMatchObject({
    upgraded: [{ name: "nxhello", from: "1.0-1", to: "2.0-1" }],
    installed: [],
  });
  expect(await preview(machine, "remove", "nxlib")).toHaveLength(2);
  const removed = await apply(machine, "remove", "nxlib", "nx-not-here");
  expect(removed.code).toBe(0);
  expect(removed.report).toMatchObject({
    removed: expect.arrayContaining([
      { name: "nxhello", version: "2.0-1" },
      { name: "nxlib", version: "1:1.0-1" },
    ]),
    unchanged: ["nx-not-here"],
  });
  const unknown = await apply(machine, "install", "nx-unknown");
  expect(unknown.code).toBe(1);
  expect(String(unknown.report["error"])).toContain("nx-unknown");
}

describe.skipIf(noDnf !== "")(`dnf (needs ${noDnf || "nothing more"})`, () => {
  test("installs, upgrades, removes, and says what it did", async () => {
    await using machine = await Throwaway.boot();
    await rpmRepository(machine, "fedora");
    await upgradesAndRemoves(machine, "dnf", "nxhello-1.0");
  });
});

describe.skipIf(noZypper !== "")(`zypper (needs ${noZypper || "nothing more"})`, () => {
  test("installs, upgrades, removes, and says what it did", async () => {
    await using machine = await Throwaway.boot();
    await rpmRepository(machine, "opensuse");
    await upgradesAndRemoves(machine, "zypper", "nxhello=1.0");
  });
});

describe.skipIf(noPacman !== "")(`pacman (needs ${noPacman || "nothing more"})`, () => {
  test("installs and removes, and refuses a lock file that nobody has open", async () => {
    await using machine = await Throwaway.boot();
    await pacmanRepository(machine);
    expect(await preview(machine, "install", "nxhello")).toContainEqual({
      change: "install",
      name: "nxhello",
      to: "1.0-1",
    });
    const installed = await apply(machine, "install", "nxhello");
    expect(installed.report).toMatchObject({
      manager: "pacman",
      installed: [
        { name: "nxhello", version: "1.0-1" },
        { name: "nxlib", version: "1.0-1" },
      ],
    });
    expect((await apply(machine, "install", "nxhello")).report).toMatchObject({ unchanged: ["nxhello"] });
    await machine.sh("touch /var/lib/pacman/db.lck");
    const locked = await apply(machine, "remove", "nxhello");
    expect(locked.code).toBe(1);
    expect(locked.report["error"]).toContain("rm /var/lib/pacman/db.lck");
    await machine.sh("rm /var/lib/pacman/db.lck");
    expect((await apply(machine, "purge", "nxhello")).report).toMatchObject({
      removed: [{ name: "nxhello", version: "1.0-1" }],
    });
    const needed = await apply(machine, "install", "nx-unknown");
    expect(needed.code).toBe(1);
    expect(String(needed.report["error"])).toContain("target not found: nx-unknown");
  });
});
