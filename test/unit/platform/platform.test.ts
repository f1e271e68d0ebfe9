// What the machine tells us is read as it is written, however oddly it is written.
import { expect, test } from "bun:test";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { seconds } from "../../../src/lib/duration.ts";
import { chosenHome, currentAccount, findAccount, isRoot, runnerFor } from "../../../src/platform/account.ts";
import { writeFileAtomic } from "../../../src/platform/atomic-file.ts";
import { openDatabase } from "../../../src/platform/database.ts";
import { parseOsRelease, readHost } from "../../../src/platform/host.ts";
import { createLog } from "../../../src/platform/log.ts";
import { identify, isAlive, parentOf, parseProcessStat, terminate } from "../../../src/platform/processes.ts";
import { rebootRefusal, serviceOf } from "../../../src/platform/service.ts";
import { scopePrefix, systemdVersion, transientUnit, unitProperties } from "../../../src/platform/systemd.ts";
import { until } from "../../support/until.ts";
import { scratchDirectory } from "../identity/scratch.ts";

const STAT =
  "4711 (sh) S 1 4711 4242 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 18446744073709551615 0 0 0";

test.each(["(sh)", "(a b)", "(a) b)", "() S 1 1)", "(😀)", "()"])(
  "a process called %s is read like any other",
  (name) => {
    expect(parseProcessStat(STAT.replace("(sh)", name))).toEqual({
      state: "S",
      parent: 1,
      session: 4_242,
      startTime: "987654",
    });
  },
);

test.each(["", "4711 (sh)", "4711 (sh) S 1 2 3"])("a line that is cut short (%p) is no process", (line) => {
  expect(parseProcessStat(line)).toBeUndefined();
});

test("a process is itself, and one with its pid and another start is not", () => {
  const me = identify(process.pid);
  expect(me && isAlive(me)).toBe(true);
  expect(isAlive({ pid: process.pid, startTime: "1" })).toBe(false);
  expect(parentOf(process.pid)).toBe(process.ppid);
  expect(identify(2 ** 22 + 1)).toBeUndefined();
});

test("a zombie is not alive", async () => {
  // It ends when its parent has become another program, which never asks for its status.
  const child = Bun.spawn(["/bin/sh", "-c", "sleep 0.3 & echo $!; exec sleep 20"], {
    stdin: "ignore",
    stdout: "pipe",
  });
  try {
    const { value } = await child.stdout.getReader().read();
    const pid = Number(Buffer.from(value ?? []).toString());
    const born = identify(pid);
    if (born === undefined) throw new Error("it was waited for");
    await until("it has ended", () => !isAlive(born));
    expect(existsSync(`/proc/${pid}`)).toBe(true);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("where nobody is left, nothing has to be ended", async () => {
  expect(await terminate(() => [], seconds(60))).toBe(true);
});

test("os-release is read with and without quotes", () => {
  const text =
    "NAME=Alpine\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION='x y'\n# ID=no\nEMPTY=\nA=b=c\n";
  expect(Object.fromEntries(parseOsRelease(text))).toEqual({
    NAME: "Alpine",
    PRETTY_NAME: "Debian GNU/Linux 12 (bookworm)",
    VERSION: "x y",
    EMPTY: "",
    A: "b=c",
  });
});

test.each([
  ["nothing", {}, "linux", "unknown", "Linux"],
  [
    "empty values",
    { "/etc/os-release": 'ID=\nVERSION_ID=""\nPRETTY_NAME=""\n' },
    "linux",
    "unknown",
    "Linux",
  ],
  [
    "Debian",
    {
      "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n',
      "/etc/debian_version": "12.11\n",
    },
    "debian",
    "12.11",
    "Debian GNU/Linux 12 (bookworm)",
  ],
  [
    "a Debian before its release",
    { "/etc/os-release": "ID=debian\nVERSION_CODENAME=forky\n", "/etc/debian_version": "forky/sid\n" },
    "debian",
    "forky",
    "Linux",
  ],
  [
    "Ubuntu, whose debian_version is another's",
    {
      "/usr/lib/os-release": 'ID=ubuntu\nVERSION_ID="24.04"\nNAME="Ubuntu"\n',
      "/etc/debian_version": "trixie/sid\n",
    },
    "ubuntu",
    "24.04",
    "Ubuntu",
  ],
  [
    "a rolling one",
    { "/etc/os-release": "ID=arch\nBUILD_ID=rolling\nNAME=Arch\n" },
    "arch",
    "rolling",
    "Arch",
  ],
  [
    "too long ones",
    { "/etc/os-release": `ID=a\nVERSION_ID=${"9".repeat(500)}\nPRETTY_NAME=${"x".repeat(500)}\n` },
    "a",
    "9".repeat(120),
    "x".repeat(120),
  ],
] satisfies [string, Record<string, string>, string, string, string][])(
  "a host names its distribution and release within the control plane's width, and never emptily: %s",
  (_, files: Record<string, string>, os, platformVersion, osImage) => {
    const host = readHost((path) => files[path]);
    expect(host).toMatchObject({ os, platformVersion, osImage });
    for (const fact of Object.values(host)) expect(fact).not.toBe("");
  },
);

test("accounts are found by name, and names that are none are not looked for", () => {
  expect(findAccount("root")).toMatchObject({ name: "root", uid: 0, gid: 0 });
  for (const name of ["no-such-user-here", "", "root:x", "../root", "-root\n", "a b"])
    expect(findAccount(name)).toBeUndefined();
  expect(currentAccount().uid).toBe(process.getuid?.() ?? -1);
});

test("HOME chooses the home of an ordinary user where it is a directory of theirs, and never root's", () => {
  using directory = scratchDirectory();
  const owner = statSync(directory.path).uid;
  expect(chosenHome(directory.path, owner === 0 ? 4711 : owner)).toBe(
    owner === 0 ? undefined : directory.path,
  );
  expect(chosenHome("/", 4711)).toBeUndefined();
  expect(chosenHome(directory.path, 0)).toBeUndefined();
  expect(chosenHome(directory.at("absent"), 4711)).toBeUndefined();
  expect(chosenHome(".", owner)).toBeUndefined();
  expect(chosenHome(undefined, 4711)).toBeUndefined();
});

test("to run as oneself, or as root, nothing is put in between", () => {
  const root = { name: "root", uid: 0, gid: 0, home: "/root", shell: "/bin/sh" };
  expect(runnerFor(root).shell("true")).toEqual(["/bin/sh", "-c", "true"]);
});

test.skipIf(!isRoot())("to run as another user, root gives up everything it has (needs root)", () => {
  const nobody = findAccount("nobody");
  if (nobody === undefined) throw new Error("this machine has no nobody");
  const [program = "", ...args] = runnerFor(nobody).shell(
    "id -u; id -G; grep -c 'CapEff:.*0000000000000000' /proc/self/status",
  );
  const ran = Bun.spawnSync([program, ...args], { env: { PATH: "/usr/bin:/bin" }, stdin: "ignore" });
  expect(ran.stdout.toString()).toBe(`${nobody.uid}\n${nobody.gid}\n1\n`);
});

test("a unit's command keeps its words: none is taken for an option, no variable in one is expanded", () => {
  const command = ["--help", "a $HOME ${x} $$", "-x"];
  const place = { name: "u.service", slice: "s.slice", description: "d", workingDirectory: "/x y" };
  const unit = { ...place, properties: ["TasksMax=5"], command };
  const line = transientUnit("/bin/systemd-run", { ...unit, outlives: "agent.service" });
  expect(line.slice(line.indexOf("--") + 1).slice(-3)).toEqual(["--help", "a $$HOME $${x} $$$$", "-x"]);
  expect(line).toContain("--working-directory=/x y");
  expect(line).toContain("--property=TasksMax=5");
});

test("a terminal's scope is bounded and becomes the command, whose words are its own", () => {
  const place = { name: "t.scope", slice: "s.slice", description: "d", outlives: "agent.service" };
  const line = [...scopePrefix("/bin/systemd-run", place), "sh", "-c", "$HOME"];
  expect(line).toContain("--scope");
  expect(line).toContain("--property=TasksMax=2048");
  expect(line.slice(line.indexOf("--") + 1)).toEqual(["sh", "-c", "$HOME"]);
});

test.each([
  ["systemd 252 (252.38-1~deb12u1)\n+PAM", 252],
  ["systemd 219\n", 219],
  ["systemd 257~rc1 (257)", 257],
  ["", 0],
])("%j is systemd %d", (output, version) => {
  expect(systemdVersion(output)).toBe(version);
});

test.each([219, 242, 243, 249, 250, 252, 257])(
  "under systemd %d a unit is bounded, and asked for nothing that this version does not know",
  (version) => {
    const properties = unitProperties(version, "noderax-task");
    expect(properties).toContain("TasksMax=2048");
    expect(properties).toContain("SyslogIdentifier=noderax-task");
    expect(properties.includes("OOMPolicy=continue")).toBe(version >= 243);
    // As a whole it may end only where it lasts as long as what it left in the background.
    expect(properties.includes("ExitType=cgroup")).toBe(version >= 250);
    expect(properties.includes("KillMode=control-group")).toBe(version >= 250);
    expect(properties.includes("KillMode=process")).toBe(version < 250);
  },
);

test.each([
  ["0::/system.slice/noderax-agent.service\n", "noderax-agent.service"],
  ["1:name=systemd:/system.slice/edge.service\n0::/\n", "edge.service"],
  ["0::/system.slice/system-agent.slice/agent@1.service\n", "agent@1.service"],
  ["0::/docker/4711/system.slice/noderax-agent.service\n", "noderax-agent.service"],
  ["0::/user.slice/user-0.slice/session-3.scope\n", undefined],
  ["0::/user.slice/user-1000.slice/user@1000.service/app.slice/agent.service\n", undefined],
  ["0::/system.slice/docker-4711.scope\n", undefined],
  ["4:memory:/system.slice/other.service\n0::/\n", undefined],
  ["0::/\n", undefined],
])("the control group %j is of the service %p", (cgroup, service) => {
  expect(serviceOf(cgroup)).toBe(service);
});

test.each([
  [{ hasSystemd: true, hasProgram: true, isContainer: true, init: "systemd" }, undefined],
  [{ hasSystemd: false, hasProgram: true, isContainer: false, init: "openrc-init" }, undefined],
  [{ hasSystemd: false, hasProgram: true, isContainer: true, init: "init" }, /container/],
  [{ hasSystemd: false, hasProgram: true, isContainer: false, init: "node" }, /"node"/],
  [{ hasSystemd: true, hasProgram: false, isContainer: false, init: "systemd" }, /no reboot program/],
] as const)("a machine that is %j reboots, or says why not", (facts, refusal) => {
  if (refusal === undefined) expect(rebootRefusal(facts)).toBeUndefined();
  else expect(rebootRefusal(facts)).toMatch(refusal);
});

test("a file is replaced with the mode asked for, whatever the umask, and a large one is whole", () => {
  using directory = scratchDirectory();
  const before = process.umask(0o777);
  try {
    writeFileAtomic(directory.at("file"), "x".repeat(3_000_000), 0o640);
  } finally {
    process.umask(before);
  }
  expect(statSync(directory.at("file"))).toMatchObject({ size: 3_000_000 });
  expect(statSync(directory.at("file")).mode & 0o777).toBe(0o640);
  expect(readdirSync(directory.path)).toEqual(["file"]);
});

test("a database is private, durable, small in memory, and brought up to date once", () => {
  using directory = scratchDirectory();
  const steps = [
    { name: "one", sql: "CREATE TABLE t (a TEXT) STRICT; INSERT INTO t VALUES ('x')" },
    { name: "two", sql: "INSERT INTO t VALUES ('y')" },
  ];
  const path = join(directory.path, "state", "agent.db");
  openDatabase(path, steps.slice(0, 1)).close();
  for (let start = 0; start < 2; start++) {
    using database = openDatabase(path, steps);
    const setting = (name: string): unknown =>
      Object.values(database.query(`PRAGMA ${name}`).get() as object)[0];
    expect([setting("journal_mode"), setting("synchronous"), setting("cache_size")]).toEqual([
      "wal",
      2,
      -512,
    ]);
    expect(database.query("SELECT a FROM t").values()).toEqual([["x"], ["y"]]);
  }
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("a step of the schema that fails leaves the database as it was", () => {
  using directory = scratchDirectory();
  const bad = { name: "bad", sql: "CREATE TABLE t (a TEXT) STRICT; INSERT INTO nowhere VALUES (1)" };
  const path = directory.at("agent.db");
  expect(() => openDatabase(path, [bad])).toThrow("nowhere");
  using database = openDatabase(path, [{ name: "bad", sql: "CREATE TABLE t (a TEXT) STRICT" }]);
  expect(database.query("SELECT * FROM t").all()).toEqual([]);
});

test("a line of the log is one line, for machines and for people", () => {
  const lines: string[] = [];
  for (const format of ["json", "human"] as const) {
    const log = createLog({ level: "info", format, write: (line) => void lines.push(line) });
    log.debug("x", "not said");
    log.info("tasks", "started", { task_id: "a b\n", none: undefined });
  }
  expect(lines).toHaveLength(2);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({
    level: "info",
    loop: "tasks",
    event: "started",
    task_id: "a b\n",
  });
  expect(lines[1]).toMatch(/^\d\d:\d\d:\d\d info {2}tasks {6}started task_id="a b\\n"$/);
});
