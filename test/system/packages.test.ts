// Operations on packages with the real apt and dpkg, in a machine that is thrown away.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { debianRepository } from "../support/debian-packages.ts";
import { AGENT_HERE, type Ran, Throwaway, missingForThrowaway } from "../support/throwaway.ts";
import { elapse, until } from "../support/until.ts";

setDefaultTimeout(240_000);

const missing = [
  ...(missingForThrowaway === undefined ? [] : [missingForThrowaway]),
  ...["apt-get", "dpkg-deb", "dpkg-scanpackages"].filter((program) => Bun.which(program) === null),
].join(" and ");

interface Applied extends Ran {
  readonly report: Readonly<Record<string, unknown>>;
}

describe.skipIf(missing !== "")(`apt (needs ${missing || "nothing more"})`, () => {
  let machine: Throwaway;
  beforeAll(async () => {
    machine = await Throwaway.boot();
    await debianRepository(machine);
  });
  afterAll(() => machine[Symbol.asyncDispose]());

  /** What a package task runs; the report goes to descriptor 4. */
  const words = (action: string, names: readonly string[], report: string): string[] => [
    "sh",
    "-c",
    `exec "$@" 4>${report}`,
    "sh",
    AGENT_HERE,
    "packages",
    "apply",
    action,
    ...names,
  ];

  const apply = (action: string, ...names: string[]): Promise<Applied> => applyIn([], action, ...names);

  async function applyIn(environment: string[], action: string, ...names: string[]): Promise<Applied> {
    const ran = await machine.run(["env", ...environment, ...words(action, names, "/tmp/report")]);
    return { ...ran, report: await reportAt("/tmp/report") };
  }

  async function reportAt(path: string): Promise<Record<string, unknown>> {
    return JSON.parse((await machine.run(["cat", path])).stdout || "{}") as Record<string, unknown>;
  }

  const audit = async (): Promise<string> => (await machine.run(["dpkg", "--audit"])).stdout;

  test("installs with what it needs, shows progress, and reports the versions", async () => {
    const { code, stdout, report } = await apply("install", "nxhello=1.0");
    expect(code).toBe(0);
    expect(report).toMatchObject({
      manager: "apt",
      installed: [
        { name: "nxhello", version: "1.0" },
        { name: "nxlib", version: "1.0" },
      ],
      upgraded: [],
      removed: [],
    });
    expect(report["error"]).toBeUndefined();
    expect(stdout).toMatch(/^\[ *\d+ %\] Configuring nxhello/m);
    expect(stdout).toContain("installed nxhello 1.0");
  });

  test("upgrades, keeps a changed configuration file, and names it", async () => {
    await machine.sh("echo mine >>/etc/nxhello.conf");
    const { report } = await apply("install", "nxhello");
    expect(report).toMatchObject({
      upgraded: [{ name: "nxhello", from: "1.0", to: "2.0" }],
      conffilesKept: ["/etc/nxhello.conf"],
    });
    expect(await machine.sh("cat /etc/nxhello.conf; ls /etc/nxhello.conf.dpkg-dist")).toBe(
      "v=1.0\nmine\n/etc/nxhello.conf.dpkg-dist\n",
    );
  });

  test("says that there was nothing to do", async () => {
    const { code, report } = await apply("install", "nxhello");
    expect(code).toBe(0);
    expect(report).toMatchObject({ unchanged: ["nxhello"], installed: [], upgraded: [] });
    const removed = await apply("remove", "nx-not-here");
    expect(removed.code).toBe(0);
    expect(removed.report).toMatchObject({
      unchanged: ["nx-not-here"],
      warnings: ["nx-not-here is not installed"],
    });
  });

  test("does not read a name as a pattern: nx.ib removes nothing", async () => {
    expect((await apply("remove", "nx.ib")).report).toMatchObject({ removed: [] });
    const { code, report } = await apply("install", "nx.low", "nx-unknown");
    expect(code).toBe(1);
    expect(report["error"]).toBe("apt knows no package nx.low, nx-unknown");
  });

  test("leaves a held package alone, and says that it is held", async () => {
    await machine.sh(
      "apt-get -qqy --allow-downgrades -o Dpkg::Options::=--force-confold install nxhello=1.0 >/dev/null 2>&1; apt-mark hold nxhello",
    );
    try {
      const { code, report } = await apply("install", "nxhello");
      expect(code).toBe(1);
      expect(report).toMatchObject({ held: ["nxhello"], upgraded: [] });
      expect(report["error"]).toContain("Held packages were changed");
    } finally {
      await machine.sh("apt-mark unhold nxhello");
    }
  });

  test("names the package whose script failed, and what is broken now", async () => {
    const { code, stderr, report } = await apply("install", "nxfail");
    expect(code).toBe(1);
    expect(stderr).toContain("oh no");
    expect(report["broken"]).toEqual([{ name: "nxfail", version: "1.0" }]);
    expect(report["error"]).toContain(
      "nxfail: installed nxfail package post-installation script subprocess returned",
    );
    expect((await apply("purge", "nxfail")).code).toBe(0);
    expect(await audit()).toBe("");
  });

  test.each(["de", "tr"])("reads apt in any language of its caller: %s", async (language) => {
    const environment = [`LANGUAGE=${language}`, "LC_ALL=C.UTF-8", `LANG=${language}_XX.UTF-8`];
    const { report } = await applyIn(environment, "install", "nxfail");
    expect(report["error"]).toContain("post-installation script subprocess returned error exit status 3");
    expect((await applyIn(environment, "purge", "nxfail")).report["error"]).toBeUndefined();
  });

  test("removes and purges, with what depends on it", async () => {
    const { report } = await apply("remove", "nxlib");
    expect(report["removed"]).toEqual([
      { name: "nxhello", version: "1.0" },
      { name: "nxlib", version: "1.0" },
    ]);
    expect((await apply("purge", "nxhello")).report["purged"]).toEqual([{ name: "nxhello", version: "1.0" }]);
    expect(await machine.sh("ls /etc | grep nxhello || true")).not.toContain("nxhello.conf\n");
  });

  test("waits for the lock, and says which process holds it", async () => {
    await machine.sh("apt-get -qqy purge nxlib >/dev/null 2>&1");
    // A package that takes its time: its dpkg holds the lock.
    const slow = machine.start(["apt-get", "-qqy", "install", "nxslow"]);
    await until("dpkg runs", async () => (await machine.run(["test", "-e", "/run/nxslow-began"])).code === 0);
    const { code, stdout } = await apply("install", "nxlib");
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /waiting for the lock of apt, held by (apt-get|\/usr\/bin\/dpkg|dpkg).*\(pid \d+.*running for \d+s\)/,
    );
    expect(stdout).toContain("the lock is free after");
    expect(await slow.exited).toBe(0);
  });

  test("a stop while it waits for the lock changes nothing, and is at once", async () => {
    await machine.sh("rm -f /run/nxslow-*; apt-get -qqy purge nxslow nxlib >/dev/null 2>&1");
    const slow = machine.start(["apt-get", "-qqy", "install", "nxslow"]);
    await until("dpkg runs", async () => (await machine.run(["test", "-e", "/run/nxslow-began"])).code === 0);
    const waiting = machine.start(words("install", ["nxlib"], "/tmp/waiting"));
    await until("it waits", async () => (await machine.run(["pgrep", "-f", "packages apply"])).code === 0);
    // The handler is there when the first line is: before, a signal would end it as well.
    await machine.sh("sleep 0.3; pkill -TERM -f '^/opt/noderax/noderax-agent packages apply'");
    expect(await waiting.exited).not.toBe(0);
    expect((await machine.run(["test", "-e", "/run/nxslow-ended"])).code).toBe(1);
    expect(await slow.exited).toBe(0);
    expect((await machine.run(["dpkg", "-s", "nxlib"])).code).not.toBe(0);
  });

  test("a stop while dpkg works waits for its end, and the report says what was done", async () => {
    await machine.sh("rm -f /run/nxslow-*; apt-get -qqy purge nxslow >/dev/null 2>&1");
    const running = machine.start(words("install", ["nxslow"], "/tmp/stopped"));
    await until("dpkg runs", async () => (await machine.run(["test", "-e", "/run/nxslow-began"])).code === 0);
    await machine.sh("pkill -TERM -f '^/opt/noderax/noderax-agent packages apply'");
    expect(await running.exited).toBe(0);
    const report = await reportAt("/tmp/stopped");
    expect(report["installed"]).toEqual([{ name: "nxslow", version: "1.0" }]);
    expect(String(report["warnings"])).toContain("a stop was asked for: apt is left to finish");
    expect((await machine.run(["test", "-e", "/run/nxslow-ended"])).code).toBe(0);
    expect(await audit()).toBe("");
  });

  test("a stop at any moment leaves dpkg consistent", async () => {
    const parts = [1, 2, 3, 4, 5, 6].map((n) => `nxpart${n}`);
    for (let round = 0; round < 20; round++) {
      const action = round % 2 === 0 ? "install" : "purge";
      const running = machine.start(words(action, parts, "/tmp/any"));
      await elapse(Math.random() * 3_000);
      await machine.run(["pkill", "-TERM", "-f", "^/opt/noderax/noderax-agent packages apply"]);
      await running.exited;
      expect(await audit()).toBe("");
    }
    await machine.sh(`apt-get -qqy purge ${parts.join(" ")} >/dev/null 2>&1`);
  });

  test("two at once: one waits for the other, and both do their work", async () => {
    const both = [words("install", ["nxpart1"], "/tmp/one"), words("install", ["nxpart2"], "/tmp/two")];
    const ended = await Promise.all(both.map((argv) => machine.run(argv)));
    expect(ended.map(({ code }) => code)).toEqual([0, 0]);
    expect(await machine.sh("dpkg-query -W -f '${Package} ' nxpart1 nxpart2")).toBe("nxpart1 nxpart2 ");
  });

  test("finishes an earlier run of dpkg that was interrupted", async () => {
    await machine.sh(
      "dpkg --unpack /srv/repository/nxpart3_1.0_all.deb >/dev/null; : >/var/lib/dpkg/updates/0001",
    );
    const { code, report } = await apply("install", "nxpart4");
    expect(code).toBe(0);
    expect(String(report["warnings"])).toContain("an earlier run of apt was interrupted");
    expect(await audit()).toBe("");
    expect(await machine.sh("dpkg-query -W -f '${db:Status-Abbrev}' nxpart3")).toBe("ii ");
  });

  test("takes a thousand names at once", async () => {
    const list = await machine.sh("dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Architecture}\\n'");
    const here = [...list.matchAll(/^ii (\S+) /gm)].map(([, name = ""]) => name);
    const installed = [...new Set(here)].filter((name) => !name.startsWith("nx")).slice(0, 1_000);
    expect(installed.length).toBeGreaterThan(100);
    const again = await apply("install", ...installed);
    expect(again.report).toMatchObject({ unchanged: installed, installed: [], upgraded: [], removed: [] });
    const unknown = Array.from({ length: 1_000 }, (_, n) => `nx-name-${n}`);
    const { code, report } = await apply("remove", ...unknown);
    expect(code).toBe(0);
    expect(report["unchanged"]).toEqual(unknown);
  });

  test("a preview shows what would go, and changes nothing", async () => {
    await machine.sh("apt-get -qqy install nxpart1 nxpart2 >/dev/null 2>&1");
    const preview = await machine.run([
      AGENT_HERE,
      "packages",
      "preview",
      "remove",
      "--json",
      "nxpart1",
      "nxpart2",
    ]);
    expect(JSON.parse(preview.stdout)).toMatchObject({
      manager: "apt",
      changes: [
        { change: "remove", name: "nxpart1" },
        { change: "remove", name: "nxpart2" },
      ],
    });
  });

  test("a full disk fails in words, and leaves what was", async () => {
    await machine.sh(
      "mount -t tmpfs -o size=4k tmpfs /var/cache/apt/archives && mkdir -p /var/cache/apt/archives/partial && head -c 4096 /dev/zero >/var/cache/apt/archives/partial/full 2>/dev/null || true",
    );
    try {
      const { code, report } = await apply("install", "nxpart5");
      expect(code).toBe(1);
      expect(String(report["error"])).toMatch(/space|No space left|full/i);
      expect(report["installed"]).toEqual([]);
    } finally {
      await machine.sh("umount /var/cache/apt/archives");
    }
    expect(await audit()).toBe("");
  });

  test("without a network it says what could not be fetched, and changes nothing", async () => {
    await machine.sh(
      "sed -i 's#copy:/srv/repository#http://127.0.0.1:9#' /etc/apt/sources.list; rm -rf /var/lib/apt/lists/*_Packages /var/lib/apt/lists/*Release",
    );
    const { code, stdout, report } = await apply("install", "nxpart5");
    expect(code).toBe(1);
    expect(stdout).toContain("refreshing the package lists: there are none");
    expect(String(report["warnings"])).toContain("127.0.0.1");
    expect(report["error"]).toBe("apt knows no package nxpart5");
    expect(report["installed"]).toEqual([]);
  });
});
