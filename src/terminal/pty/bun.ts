// A program on Bun's own terminal: with a controlling terminal, or in a session without one.
//
// Measured with Bun 1.4.5: the terminal's exit callback comes at the end of the output, with a code that says nothing;
// it is called only for the inline option, and not while a background job holds the tty. write() takes everything, in
// order, whatever waits already. `drain` says that all of it is flushed, but does not come after each write that was
// flushed in parts: whoever waits for it before the next write waits for ever. write() and resize() throw after close(). A TIOCSCTTY that fails is not reported.
import { MIB } from "../../lib/size.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { SYSTEM_PATH } from "../../platform/account.ts";
import { hasControllingTerminal } from "../../platform/processes.ts";
import type { Valve } from "./flow-control.ts";
import { giveTo, openMasters, ptyOpenedSince, slaveOf } from "./descriptors.ts";
import type { Pty, PtyOrder } from "./pty.ts";

export function spawnOnBun(order: PtyOrder, mode: "pty+ctty" | "pty-no-ctty"): Pty {
  const eof = Promise.withResolvers<void>();
  let lastData = performance.now();
  /** Written since all was last known to be flushed. */
  let unread = 0;
  const options: Bun.TerminalOptions = {
    cols: order.cols,
    rows: order.rows,
    data(_, bytes) {
      lastData = performance.now();
      order.onData(bytes);
      flow?.passed(bytes.length);
    },
    exit: () => eof.resolve(),
    drain: () => void (unread = 0),
  };

  // Nothing may run between the two looks at our descriptors: another session could open its own.
  const before = openMasters();
  const { child, terminal } =
    mode === "pty+ctty" ? startInline(order, options) : startDetached(order, options);
  const opened = ptyOpenedSince(before);
  const slave = opened === undefined ? slaveOf(child.pid) : `/dev/pts/${opened.index}`;
  if (order.owner !== undefined && slave !== undefined) giveTo(slave, order.owner);
  const flow = flowOf(opened && order.flow?.find(opened));

  const exited = child.exited.then(() => {
    // What the kernel still holds has to come out before silence is taken for the end.
    flow?.end();
    return {
      exitCode: child.exitCode,
      signal: child.signalCode === null ? null : String(child.signalCode),
    };
  });
  const drained = exited.then(() => Promise.race([eof.promise, silence(() => lastData)]));
  return {
    pid: child.pid,
    mode,
    write(bytes) {
      if (terminal.closed || bytes.length === 0) return true;
      if (unread + bytes.length > (bytes.length > KEYS ? UNREAD_MAX : 2 * UNREAD_MAX)) return false;
      unread += bytes.length;
      terminal.write(bytes);
      return true;
    },
    resize(cols, rows) {
      if (!terminal.closed) terminal.resize(cols, rows);
    },
    pausable: flow !== undefined,
    pause: () => flow?.want(true),
    resume: () => flow?.want(false),
    exited,
    drained,
    close() {
      if (!terminal.closed) terminal.close();
      eof.resolve();
    },
  };
}

interface Flow {
  want(paused: boolean): void;
  /** So much output was handed over. */
  passed(count: number): void;
  /** Lets everything out, for good. */
  end(): void;
}

/** Turns the valve once the output that is being handed over is; where it cannot be turned, it is tried again. */
function flowOf(valve: Valve | undefined): Flow | undefined {
  if (valve === undefined) return undefined;
  let wanted = false;
  let closed = false;
  let ended = false;
  let due = false;
  /** Bytes in this turn of the loop. */
  let burst = 0;
  let halted = false;
  const release = (): void => {
    if (halted) valve.release();
    halted = false;
  };
  const turn = (triesLeft: number): void => {
    due = false;
    burst = 0;
    if (wanted !== closed) {
      if (wanted ? valve.close() : valve.open()) closed = wanted;
      else if (triesLeft > 0) return schedule(triesLeft - 1);
    }
    release();
  };
  const schedule = (tries: number): void => {
    if (due) return;
    due = true;
    setImmediate(turn, tries);
  };
  return {
    want(paused) {
      wanted = paused && !ended;
      schedule(TRIES);
    },
    passed(count) {
      burst += count;
      schedule(TRIES);
      if (burst < BURST_MAX || halted) return;
      halted = true;
      valve.halt();
    },
    end() {
      ended = true;
      wanted = false;
      schedule(TRIES);
    },
  };
}

interface Started {
  readonly child: Bun.Subprocess;
  readonly terminal: Bun.Terminal;
}

function startInline({ command, environment }: PtyOrder, options: Bun.TerminalOptions): Started {
  const child = Bun.spawn([...command], { cwd: "/", env: environment, terminal: options });
  const { terminal } = child;
  if (terminal === undefined) throw new Error("Bun gave no terminal");
  if (hasControllingTerminal(child.pid) === false) {
    child.kill("SIGKILL");
    terminal.close();
    throw new Error("the kernel gave no controlling terminal");
  }
  return { child, terminal };
}

/**
 * Only the inline option makes the pty a controlling terminal. `setsid` matters: in our session the shell would do its
 * job control on the terminal that a person started us from.
 */
function startDetached({ command, environment }: PtyOrder, options: Bun.TerminalOptions): Started {
  const setsid = Bun.which("setsid", { PATH: SYSTEM_PATH });
  if (setsid === null) throw new Error("there is no setsid");
  const terminal = new Bun.Terminal(options);
  try {
    return { child: Bun.spawn([setsid, ...command], { cwd: "/", env: environment, terminal }), terminal };
  } catch (error) {
    terminal.close();
    throw error;
  }
}

/** A few milliseconds of reading, in which nothing else is done. */
const BURST_MAX = MIB;
/** More turns of the loop than Bun needs to arm its registration again. */
const TRIES = 10;

/** A paste into a program that does not read. */
const UNREAD_MAX = MIB;
/** Single keys still get through behind it: among them may be the one that ends the program. */
const KEYS = 64;

const QUIET: Duration = milliseconds(100);
/** A background job that goes on writing is not waited for. */
const QUIET_LIMIT: Duration = seconds(2);

/** Resolves when nothing came for a moment, seen twice: a loop that was held up finds its timer and its data due at once. */
async function silence(lastData: () => number): Promise<void> {
  const begin = performance.now();
  for (let quiet = 0; quiet < 2;) {
    await sleep(QUIET / 2);
    const now = performance.now();
    if (now - begin >= QUIET_LIMIT) return;
    quiet = now - lastData() >= QUIET / 2 ? quiet + 1 : 0;
  }
}
