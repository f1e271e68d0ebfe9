// A program on a pty, in every mode this machine has.
import { expect, setDefaultTimeout, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { loadFlowControl } from "../../../src/terminal/pty/flow-control.ts";
import { PTY_MODES, type Pty, type PtyMode, type PtyOrder, spawnPty } from "../../../src/terminal/pty/pty.ts";
import { anotherMegabyte, until } from "../../support/until.ts";
import { openTerminals } from "./harness.ts";

setDefaultTimeout(150_000);

const flow = await loadFlowControl();
const SYSTEM = PTY_MODES.filter((mode) => mode !== "pty-minimal");

interface Running {
  readonly pty: Pty;
  readonly output: () => string;
  readonly received: () => number;
}

async function running(mode: PtyMode, script: string, options: Partial<PtyOrder> = {}): Promise<Running> {
  const pieces: Buffer[] = [];
  let received = 0;
  const pty = await spawnPty(
    {
      command: ["/bin/sh", "-c", script],
      environment: { PATH: "/usr/bin:/bin" },
      cols: 100,
      rows: 30,
      owner: undefined,
      flow,
      onData(bytes) {
        received += bytes.length;
        if (received < 5_000_000) pieces.push(Buffer.from(bytes));
      },
      ...options,
    },
    [mode],
  );
  return { pty, output: () => Buffer.concat(pieces).toString(), received: () => received };
}

/** Runs it to its end. */
async function ran(mode: PtyMode, script: string, options: Partial<PtyOrder> = {}) {
  const { pty, output } = await running(mode, script, options);
  const exit = await pty.exited;
  await pty.drained;
  pty.close();
  return { ...exit, output: output(), mode: pty.mode };
}

test.each(PTY_MODES)("%s: exit codes and the last output come through", async (mode) => {
  for (const code of [0, 7])
    expect(await ran(mode, `printf 'wörld\\n'; exit ${code}`)).toEqual({
      exitCode: code,
      signal: null,
      output: "wörld\r\n",
      mode,
    });
});

test.each(PTY_MODES)("%s: the environment is what was given, nothing of ours", async (mode) => {
  process.env["NODERAX_TEST_SECRET"] = "s3cret";
  try {
    const { output } = await ran(mode, "env; cat /proc/self/environ | tr '\\0' '\\n'", {
      environment: { PATH: "/usr/bin:/bin", GIVEN: "a b'c" },
    });
    expect(output).toContain("GIVEN=a b'c\r\n");
    expect(output).not.toContain("s3cret");
    const names = [...output.matchAll(/^(\w+)=/gm)].map(([, name]) => name);
    expect(
      names.filter((name) => !["PATH", "GIVEN", "PWD", "OLDPWD", "_", "SHLVL"].includes(name ?? "")),
    ).toEqual([]);
  } finally {
    delete process.env["NODERAX_TEST_SECRET"];
  }
});

test.each(PTY_MODES)("%s: it begins with its size and hears of another", async (mode) => {
  const { pty, output } = await running(mode, "stty size; read line; stty size");
  await until("the first size", () => output().includes("30 100"));
  pty.resize(61, 17);
  pty.write(Buffer.from("\n"));
  await pty.drained;
  pty.close();
  expect(output()).toContain("17 61");
});

test.each(SYSTEM)("%s: a death by signal is one", async (mode) => {
  expect(await ran(mode, "kill -KILL $$")).toMatchObject({ exitCode: null, signal: "SIGKILL" });
});

// The sixth field of /proc/PID/stat is the session; a minimal system has no `ps`.
test("pty+ctty: the pty is the controlling terminal of a session of its own", async () => {
  const { output } = await ran("pty+ctty", "echo over >/dev/tty && cut -d' ' -f6 /proc/$$/stat && echo $$");
  const [over, sid, pid] = output.split("\r\n").map((line) => line.trim());
  expect([over, sid]).toEqual(["over", pid]);
});

test("pty-no-ctty: a session of its own without a controlling terminal, also of ours", async () => {
  const { output } = await ran(
    "pty-no-ctty",
    "(: >/dev/tty) 2>/dev/null || echo none; cut -d' ' -f6 /proc/$$/stat; echo $$; test -t 0 && echo tty",
  );
  const [none, sid, pid, tty] = output.split("\r\n").map((line) => line.trim());
  expect([none, sid, tty]).toEqual(["none", pid, "tty"]);
});

test("no mode works: the error has the reason of each", async () => {
  const order = { environment: {}, cols: 80, rows: 24, owner: undefined, flow, onData() {} };
  const spawned = spawnPty({ ...order, command: ["/no/such/program"] }, ["pty+ctty"]);
  expect(await spawned.catch(String)).toMatch(
    /no pseudo-terminal could be opened \(pty\+ctty: .*no such file/i,
  );
});

test("a mode that fails is followed by the next", async () => {
  // The first one cannot start it; the second starts setsid, which finds out later.
  const order = { environment: {}, cols: 80, rows: 24, owner: undefined, flow, onData() {} };
  const pty = await spawnPty({ ...order, command: ["/no/such/program"] });
  expect(pty.mode).toBe("pty-no-ctty");
  expect((await pty.exited).exitCode).toBe(127);
  await pty.drained;
  pty.close();
});

test("output just before the end is never lost: 100 times 200 kB", async () => {
  let lost = 0;
  for (let n = 0; n < 100; n++) {
    const { pty, received } = await running("pty+ctty", "stty -opost; head -c 200000 /dev/zero; exit 3");
    expect(await pty.exited).toEqual({ exitCode: 3, signal: null });
    await pty.drained;
    pty.close();
    if (received() !== 200_000) lost++;
  }
  expect(lost).toBe(0);
});

test("a background job that keeps the pty open does not keep the end from coming", async () => {
  for (const mode of SYSTEM) {
    const { pty, output } = await running(mode, "trap '' HUP; sleep 60 & echo $!; exit 4");
    const begin = performance.now();
    expect((await pty.exited).exitCode).toBe(4);
    await pty.drained;
    expect(performance.now() - begin).toBeLessThan(seconds(10));
    pty.close();
    try {
      process.kill(Number.parseInt(output(), 10), "SIGKILL");
    } catch {
      // The hang-up was enough.
    }
  }
});

test("a paused pty holds its program, and nothing is lost (needs FFI)", async () => {
  // More than is read within one look at the condition, on a busy machine too.
  const all = 20_000_000;
  const { pty, received } = await running("pty+ctty", `stty -opost; head -c ${all} /dev/zero`);
  expect(pty.pausable).toBe(true);
  await until("it begins", () => received() > 0);
  pty.pause();
  await anotherMegabyte();
  const held = received();
  await anotherMegabyte();
  expect(received()).toBe(held);
  expect(held).toBeLessThan(all);
  pty.resume();
  await pty.drained;
  pty.close();
  expect(received()).toBe(all);
});

test("while it is paused, the end of its program is seen, and after it nothing of it stays open (needs FFI)", async () => {
  const before = openTerminals();
  const { pty, received } = await running("pty+ctty", "yes");
  await until("it begins", () => received() > 0);
  pty.pause();
  process.kill(pty.pid, "SIGKILL");
  expect((await pty.exited).signal).toBe("SIGKILL");
  await pty.drained;
  pty.close();
  await until("no descriptor is left", () => openTerminals() <= before);
});

test("what the kernel held of a paused pty when its program ended comes out (needs FFI)", async () => {
  for (const mode of SYSTEM) {
    const { pty, output } = await running(mode, "echo on; read line; printf '%03000d' 7; exit 6");
    await until("it is on", () => output().includes("on\r\n"));
    pty.pause();
    await anotherMegabyte();
    pty.write(Buffer.from("\n"));
    expect((await pty.exited).exitCode).toBe(6);
    await pty.drained;
    pty.close();
    expect(output().endsWith(`${"0".repeat(2_999)}7`)).toBe(true);
  }
});

test("after the close nothing throws", async () => {
  const { pty } = await running("pty+ctty", "sleep 100");
  pty.close();
  pty.close();
  pty.resize(80, 24);
  pty.pause();
  pty.resume();
  pty.write(Buffer.from("x"));
  expect((await pty.exited).signal).toBe("SIGHUP");
});

test("a program has no descriptor of ours, nor of another's terminal", async () => {
  const other = await running("pty+ctty", "sleep 100");
  const { output } = await ran(
    "pty+ctty",
    "ls -l /proc/self/fd | grep -c -e ptmx -e pts; ls /proc/self/fd | wc -l",
  );
  other.pty.close();
  expect(output).toBe("2\r\n4\r\n");
});
