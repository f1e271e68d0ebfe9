// A program on Bun's own terminal: with a controlling terminal, or in a session without one.
//
// Measured with Bun 1.4.5: the terminal's exit callback comes at the end of the output, with a meaningless code;
// it is called only for the inline option, and not while a background job holds the tty. write() takes everything, in
// order, whatever is pending. `drain` means that all of it is flushed, but is not called after each write that was flushed
// in parts: code that waits for it before the next write waits for ever. write() and resize() throw after close(). A
// TIOCSCTTY that fails is not reported.
import { MIB } from "../../lib/size.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { SYSTEM_PATH } from "../../platform/account.ts";
import { hasControllingTerminal } from "../../platform/processes.ts";
import type { PtyFlow } from "./flow-control.ts";
import { giveTo, openMasters, ptyOpenedSince, slaveOf } from "./descriptors.ts";
import type { Pty, PtyOrder } from "./pty.ts";

export function spawnOnBun(order: PtyOrder, mode: "pty+ctty" | "pty-no-ctty"): Pty {
  const eof = Promise.withResolvers<void>();
  let lastData = performance.now();
  /** Bytes written since the last `drain`. */
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

  // No await between the two lists of our descriptors: another session could open its own.
  const before = openMasters();
  const { child, terminal } =
    mode === "pty+ctty" ? startInline(order, options) : startDetached(order, options);
  const opened = ptyOpenedSince(before);
  const slave = opened === undefined ? slaveOf(child.pid) : `/dev/pts/${opened.index}`;
  if (order.owner !== undefined && slave !== undefined) giveTo(slave, order.owner);
  const flow = flowOf(opened && order.flow?.find(opened));

  const exited = child.exited.then(() => {
    // The kernel's buffer must be read before silence counts as the end.
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
  /** Called after `count` bytes were passed on. */
  passed(count: number): void;
  /** Ends every pause for good. */
  end(): void;
}

/** Applies a pause or resume after the current read callback returns; retries when it cannot be applied yet. */
function flowOf(pty: PtyFlow | undefined): Flow | undefined {
  if (pty === undefined) return undefined;
  let wanted = false;
  let closed = false;
  let ended = false;
  let due = false;
  /** Bytes in this turn of the loop. */
  let burst = 0;
  let halted = false;
  const release = (): void => {
    if (halted) pty.release();
    halted = false;
  };
  const turn = (triesLeft: number): void => {
    due = false;
    burst = 0;
    if (wanted !== closed) {
      if (wanted ? pty.close() : pty.open()) closed = wanted;
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
      pty.halt();
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

/** Bytes read in one turn of the loop before the program is halted: a few milliseconds in which nothing else runs. */
const BURST_MAX = MIB;
/** Turns of the loop; Bun needs fewer to arm its registration again. */
const TRIES = 10;

/** Bytes of input pending for a program that does not read, such as a paste. */
const UNREAD_MAX = MIB;
/** Input up to this size is still accepted behind it: it may be the key that ends the program. */
const KEYS = 64;

const QUIET: Duration = milliseconds(100);
/** Limit of the wait for a background job that goes on writing. */
const QUIET_LIMIT: Duration = seconds(2);

/** Resolves after two quiet periods in a row: in a delayed loop, a timer and data may be due at once. */
async function silence(lastData: () => number): Promise<void> {
  const begin = performance.now();
  for (let quiet = 0; quiet < 2;) {
    await sleep(QUIET / 2);
    const now = performance.now();
    if (now - begin >= QUIET_LIMIT) return;
    quiet = now - lastData() >= QUIET / 2 ? quiet + 1 : 0;
  }
}
