// Scans of a machine's logs: files that rotate under it, links and pipes in their place, users without root, and its entries.
import { noUpdates } from "../../support/task.ts";
import { describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  renameSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { MIB } from "../../../src/lib/size.ts";
import { currentAccount, findAccount, runnerFor } from "../../../src/platform/account.ts";
import { entryOfJournal, entryOfLine } from "../../../src/tasks/scan/entry.ts";
import { logScanKind } from "../../../src/tasks/kinds/log-scan.ts";
import { type ScanPorts, type ScanRequest, type ScanResult, scanLog } from "../../../src/tasks/scan/scan.ts";
import { scratchDirectory } from "../identity/scratch.ts";

const never = new AbortController().signal;
const NOW = new Date("2026-11-26T12:00:00Z");

/** A root directory with a log of its own. */
function machine(changes: Partial<ScanPorts> = {}) {
  const directory = scratchDirectory();
  mkdirSync(directory.at("var/log"), { recursive: true });
  chmodSync(directory.path, 0o755);
  const ports: ScanPorts = {
    reader: undefined,
    now: () => NOW,
    root: directory.path,
    journalctl: () => undefined,
    ...changes,
  };
  const scan = (request: Partial<ScanRequest> = {}): Promise<ScanResult> =>
    scanLog(
      {
        preset: "syslog",
        mode: "preview",
        limits: { lines: 500, bytes: 65_536 },
        backfill: undefined,
        cursor: undefined,
        ...request,
      },
      ports,
      never,
    );
  return {
    log: directory.at("var/log/syslog"),
    at: (name: string) => directory.at(`var/log/${name}`),
    scan,
    /** Scans on from the last scan's cursor. Returns the messages. */
    on: async (last: ScanResult) => await scan({ mode: "monitor", cursor: last.cursor }),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

/**
 * Writes so many lines to a file that it keeps open, and opens it again at SIGHUP, as a system logger does. A second process
 * renames the file and its predecessors, makes a new one and sends the signal, as logrotate does, but ten times a second.
 */
const WRITER = `
log=$1 lines=$2
(
  trap 'exec >>"$log"' HUP
  exec >>"$log"
  n=0
  while [ $n -lt $lines ]; do
    echo "line $n"; n=$((n + 1))
    [ $((n % 5)) -ne 0 ] || sleep 0.005
  done
) &
writer=$!
while kill -0 $writer 2>/dev/null; do
  if [ -s "$log" ]; then
    for n in 8 7 6 5 4 3 2 1; do [ ! -e "$log.$n" ] || mv "$log.$n" "$log.$((n + 1))"; done
    mv "$log" "$log.1"
    : >>"$log"
    kill -HUP $writer 2>/dev/null
  fi
  sleep 0.1
done
wait $writer`;

const messages = ({ entries }: ScanResult): string[] => entries.map(({ message }) => message);
const problem = async (scan: Promise<unknown>): Promise<string> =>
  await scan.then(
    () => "it was read",
    (error: unknown) => (error instanceof AgentError ? error.message : String(error)),
  );

describe("a preview", () => {
  test("has the last lines, as many as asked for, and the preset's number without", async () => {
    using host = machine();
    writeFileSync(host.log, Array.from({ length: 1_000 }, (_, at) => `line ${at}\n`).join(""));
    expect(messages(await host.scan({ backfill: 2 }))).toEqual(["line 998", "line 999"]);
    const { entries, truncated, linesRead, sourceType } = await host.scan();
    expect([entries.length, linesRead, truncated, sourceType]).toEqual([200, 200, false, "file"]);
  });

  test("of a file of 10 GiB reads no more than a MiB", async () => {
    using host = machine();
    writeFileSync(host.log, "");
    truncateSync(host.log, 10_240 * MIB);
    appendFileSync(
      host.log,
      `\n${"a line of a log that is a hundred characters long, or a few more\n".repeat(500)}`,
    );
    const { entries, bytesRead } = await host.scan({ backfill: 500 });
    expect(entries).toHaveLength(500);
    expect(bytesRead).toBeLessThanOrEqual(MIB);
  });

  test("of a log that is absent says what was read instead, or what it looked for", async () => {
    using host = machine();
    writeFileSync(host.at("messages"), "hello\n");
    expect((await host.scan()).warnings).toEqual(["syslog is absent: /var/log/messages was read"]);
    expect(await problem(host.scan({ preset: "kern.log" }))).toBe(
      "this machine has no kern.log: there is none of /var/log/kern.log, the journal of the kernel",
    );
  });

  test("of a preset that is none names those there are", () => {
    const context = {
      settings: { task_timeout: 1_000, ...noUpdates },
      runner: runnerFor(currentAccount()),
      ownService: undefined,
      rebootRefusal: undefined,
    };
    for (const sourcePresetId of ["/etc/shadow", "../../etc/shadow", "__proto__", ""]) {
      expect(logScanKind.prepare({ sourcePresetId }, context)).toEqual({
        do: "refuse",
        text: `there is no log preset "${sourcePresetId}"; there are syslog, auth.log, kern.log, noderax-agent`,
      });
    }
    expect(
      logScanKind.prepare({ sourcePresetId: "syslog", runAsRoot: true, rootScope: "task" }, context),
    ).toMatchObject({
      do: "work",
      root: "operational",
    });
    expect(logScanKind.prepare({ sourcePresetId: "syslog" }, context)).not.toHaveProperty("root");
    expect(
      logScanKind.prepare({ sourcePresetId: "syslog", limits: { maxLines: "all" } }, context),
    ).toMatchObject({
      do: "refuse",
    });
  });

  test("caps what it is asked for", async () => {
    using host = machine();
    writeFileSync(host.log, "x".repeat(100_000));
    const { entries, truncated } = await host.scan({ limits: { lines: 500, bytes: 1_000 } });
    expect([entries.length, entries[0]?.message.length, truncated]).toEqual([1, 1_000, true]);
  });
});

describe("a monitor", () => {
  test("goes on behind the last line, and leaves out one that is half written", async () => {
    using host = machine();
    writeFileSync(host.log, "one\n");
    const first = await host.scan();
    appendFileSync(host.log, "two\nthr");
    const second = await host.on(first);
    expect(messages(second)).toEqual(["two"]);
    appendFileSync(host.log, "ee\n");
    expect(messages(await host.on(second))).toEqual(["three"]);
    expect(messages(await host.on(first))).toEqual(["two", "three"]);
  });

  test("finishes files that were rotated meanwhile, however many, and says so", async () => {
    using host = machine();
    writeFileSync(host.log, "one\n");
    const first = await host.scan();
    for (const [line, later] of [
      ["two", "three"],
      ["four", "five"],
    ]) {
      appendFileSync(host.log, `${line}\n`);
      if (line === "four") renameSync(host.at("syslog.1"), host.at("syslog.2"));
      renameSync(host.log, host.at("syslog.1"));
      writeFileSync(host.log, `${later}\n`);
    }
    const second = await host.on(first);
    expect(messages(second)).toEqual(["two", "three", "four", "five"]);
    expect([second.cursor.cursorResetReason, second.warnings]).toEqual(["rotated", []]);
    const third = await host.on(second);
    expect([messages(third), third.cursor.cursorResetReason]).toEqual([[], undefined]);
  });

  test("brings every line once while a program writes and its log is rotated ten times a second", async () => {
    using host = machine();
    writeFileSync(host.log, "first\n");
    let last = await host.scan();
    const writer = Bun.spawn(["sh", "-c", WRITER, "sh", host.log, "2000"], { stdout: "ignore" });
    const got: string[] = [];
    const resets = new Set<string>();
    try {
      for (let isOver = false; !isOver;) {
        isOver = writer.exitCode !== null;
        last = await host.on(last);
        got.push(...messages(last));
        expect(last.warnings).toEqual([]);
        if (last.cursor.cursorResetReason !== undefined) resets.add(last.cursor.cursorResetReason);
        isOver &&= !last.truncated;
        await Bun.sleep(1);
      }
    } finally {
      await writer.exited; // It ends by itself, after some 5 s.
    }
    expect(got).toEqual(Array.from({ length: 2_000 }, (_, n) => `line ${n}`));
    expect(resets).toEqual(new Set(["rotated"]));
  }, 60_000);

  test("warns where the file that was read last was compressed, and reads the new one from its beginning", async () => {
    using host = machine();
    writeFileSync(host.log, "one\n");
    const first = await host.scan();
    renameSync(host.log, host.at("syslog.1.gz"));
    writeFileSync(host.log, "two\n");
    const second = await host.on(first);
    expect(messages(second)).toEqual(["two"]);
    expect(second.cursor.cursorResetReason).toBe("rotated");
    expect(second.warnings.join()).toContain("gone or compressed");
  });

  test("notices a truncation, also where the file has grown past the old place since", async () => {
    using host = machine();
    writeFileSync(host.log, "one\n");
    const first = await host.scan();
    truncateSync(host.log);
    appendFileSync(host.log, "two, which is longer than one\n");
    const second = await host.on(first);
    expect(messages(second)).toEqual(["two, which is longer than one"]);
    expect(second.cursor.cursorResetReason).toBe("truncated");
    expect(second.warnings.join()).toContain("truncated");
  });

  test("finishes the copy of a file that was copied and truncated", async () => {
    using host = machine();
    writeFileSync(host.log, "one\n");
    const first = await host.scan();
    appendFileSync(host.log, "two\n");
    copyFileSync(host.log, host.at("syslog.1"));
    truncateSync(host.log);
    appendFileSync(host.log, "three\n");
    expect(messages(await host.on(first))).toEqual(["two", "three"]);
  });

  test("with the cursor of a Go agent goes on by the inode alone, and one that is none starts at the end", async () => {
    using host = machine();
    writeFileSync(host.log, "one\ntwo\n");
    const { cursor } = await host.scan();
    const inode = cursor.fileInode?.split(":")[1] ?? "";
    expect(
      messages(await host.scan({ mode: "monitor", cursor: { fileInode: inode, fileOffset: 4 } })),
    ).toEqual(["two"]);
    expect(messages(await host.scan({ mode: "monitor", cursor: {} }))).toEqual(["one", "two"]);
  });
});

describe("nothing but a log is read", () => {
  test("a link out of the directory of the logs is refused, and one within it is followed", async () => {
    using host = machine();
    symlinkSync("/etc/passwd", host.log);
    expect(await problem(host.scan())).toContain("it is a link to /etc/passwd, outside of");
    writeFileSync(host.at("secure.log"), "hello\n");
    symlinkSync("secure.log", host.at("auth.log"));
    expect(messages(await host.scan({ preset: "auth.log" }))).toEqual(["hello"]);
  });

  test("a pipe and a directory are refused, at once", async () => {
    using host = machine();
    Bun.spawnSync(["mkfifo", host.log]);
    expect(await problem(host.scan())).toContain("it is not a regular file");
    mkdirSync(host.at("auth.log"));
    expect(await problem(host.scan({ preset: "auth.log" }))).toContain("it is not a regular file");
  });

  const nobody = findAccount("nobody");
  test.skipIf(process.getuid?.() !== 0 || nobody === undefined)(
    "without root, a root agent reads what the user of tasks may read (needs root)",
    async () => {
      if (nobody === undefined) throw new Error("no nobody");
      using host = machine({ reader: runnerFor(nobody, false) });
      writeFileSync(host.log, "secret\n", { mode: 0o640 });
      expect(await problem(host.scan())).toContain("it may not be read without root");
      chownSync(host.log, 0, nobody.gid);
      expect(messages(await host.scan())).toEqual(["secret"]);
      chmodSync(host.log, 0o604);
      expect(await problem(host.scan())).toContain("it may not be read without root");
    },
  );
});

describe("an entry", () => {
  test.each([
    [
      "2026-11-26T21:45:30.123456+02:00 web-1 sshd[4711]: Failed password: for root",
      { timestamp: "2026-11-26T19:45:30.123Z", identifier: "sshd", message: "Failed password: for root" },
    ],
    [
      "2026-11-26T21:45:30+00:00 web-1 kernel: [ 12.3] usb 1-1: new device",
      { timestamp: "2026-11-26T21:45:30.000Z", identifier: "kernel", message: "[ 12.3] usb 1-1: new device" },
    ],
    ["no time in here", { message: "no time in here" }],
    ["2026-99-99T21:45:30+00:00 host x: y", { message: "2026-99-99T21:45:30+00:00 host x: y" }],
    ["Foo  6 21:45:30 host x: y", { message: "Foo  6 21:45:30 host x: y" }],
    ["", { message: "" }],
  ])("of the line %p", (line, entry) => {
    expect(entryOfLine(line, NOW)).toEqual(entry);
  });

  test("of a date without a year is of the last year in which it is not in the future", () => {
    const yearOf = (line: string): number => new Date(entryOfLine(line, NOW).timestamp ?? "").getFullYear();
    expect(yearOf("Nov 26 11:00:00 host cron[1]: x")).toBe(2026);
    expect(yearOf("Dec 31 23:00:00 host cron[1]: x")).toBe(2025);
    expect(entryOfLine("Nov  6 01:02:03 host cron[1]: x", NOW)).toMatchObject({
      identifier: "cron",
      message: "x",
    });
  });

  test.each([
    ['{"MESSAGE":"hello"}', "hello"],
    ['{"MESSAGE":[104,101,255,108]}', "he\ufffdl"],
    ['{"MESSAGE":["one","two"]}', "one\ntwo"],
    ['{"MESSAGE":null}', "(an entry that is too long)"],
    ["{}", ""],
  ])("of the journal has its message, in whichever form: %s", (line, message) => {
    expect(entryOfJournal(line)?.entry.message).toBe(message);
  });

  test("of the journal has time, unit, program and cursor; what is no entry is none", () => {
    const line =
      '{"MESSAGE":"m","__REALTIME_TIMESTAMP":"1700000000000000","_SYSTEMD_UNIT":"a.service","SYSLOG_IDENTIFIER":"a","__CURSOR":"s=1"}';
    expect(entryOfJournal(line)).toEqual({
      entry: { timestamp: "2023-11-14T22:13:20.000Z", message: "m", unit: "a.service", identifier: "a" },
      cursor: "s=1",
    });
    for (const other of ["", "-- No entries --", "[]", "null", "7"])
      expect(entryOfJournal(other)).toBeUndefined();
  });
});
