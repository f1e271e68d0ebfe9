// Pauses reading from a pty, so that the kernel blocks the program that writes to it. Bun's terminal cannot do that.
//
// Bun waits for a pty's output with a one-shot registration in its epoll, which it arms again after each read. We take
// EPOLLIN out of it and put it back. A hang-up is reported all the same, so the program's end is seen. Before each change
// the kernel is asked whether the descriptor is still this pty, and whether the registration has the expected form;
// otherwise nothing is changed.
//
// That takes effect when Bun comes back to its epoll, which it does not as long as the program keeps up with its reading:
// bursts of 67 MB were measured on a busy machine. Such a program is stopped by TCOOFF until then, and only when it waits
// for room: the kernel loses a line feed when the stop comes between its asking for room and its writing.
import { closeSync, constants, openSync, readdirSync, readlinkSync } from "node:fs";
import { type Duration, milliseconds } from "../../lib/duration.ts";
import { openLibc } from "../../platform/libc.ts";
import { type PtyDescriptors, readDescriptor, ttyIndexOf } from "./descriptors.ts";

/** Within this time a program that writes faster than we read has filled the kernel's 64 kB, and blocks. */
const TIME_TO_FILL: Duration = milliseconds(2);

/** Of `tcflow`, on Linux. */
const TCOOFF = 0;
const TCOON = 1;
const EPOLL_CTL_MOD = 3;
const EPOLLIN = 1;
const EPOLLONESHOT = 0x4000_0000;
/** The kernel's form of a one-shot registration without events: errors and hang-ups are always reported. */
const HELD = EPOLLONESHOT | 0x08 | 0x10;

export interface FlowControl {
  /** Returns the flow of a pty that was just opened; undefined when its registration has another form. */
  find(pty: PtyDescriptors): PtyFlow | undefined;
}

export interface PtyFlow {
  /** Stops reading. False when that is not possible at the moment. Not within the read callback: Bun arms it afterwards. */
  close(): boolean;
  /** Reads again. False when that is not possible at the moment. */
  open(): boolean;
  /** Stops the program that writes, at once, until `release`. */
  halt(): void;
  release(): void;
}

interface Native {
  changeEvents(epoll: number, fd: number, events: number, data: bigint): boolean;
  tcflow(fd: number, action: number): void;
}

/** Resolves with undefined where the runtime cannot make native calls (without a JIT). */
export async function loadFlowControl(): Promise<FlowControl | undefined> {
  const libc = await openLibc({
    epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
    tcflow: { args: ["i32", "i32"], returns: "i32" },
  });
  return (
    libc &&
    flowControl({
      changeEvents: (epoll, fd, events, data) =>
        libc.epoll_ctl(epoll, EPOLL_CTL_MOD, fd, epollEvent(events, data)) === 0,
      tcflow: (fd, action) => void libc.tcflow(fd, action),
    })
  );
}

/** `struct epoll_event`, which is packed on x86-64 alone. */
function epollEvent(events: number, data: bigint): Uint8Array {
  const offset = process.arch === "x64" ? 4 : 8;
  const view = new DataView(new ArrayBuffer(offset + 8));
  view.setUint32(0, events, true);
  view.setBigUint64(offset, data, true);
  return new Uint8Array(view.buffer);
}

function flowControl(native: Native): FlowControl {
  return {
    find({ index, masters }) {
      for (const epoll of epolls())
        for (const fd of masters) {
          const events = registration(epoll, fd)?.events ?? 0;
          if ((events & EPOLLIN) === 0 || (events & EPOLLONESHOT) === 0) continue;
          return ptyFlow(epoll, fd, index, events, native);
        }
      return undefined;
    },
  };
}

function ptyFlow(epoll: number, fd: number, index: number, armed: number, native: Native): PtyFlow {
  // All within one turn of the loop, in which Bun changes nothing.
  const set = (from: number, to: number): boolean => {
    if (ttyIndexOf(fd) !== index) return false;
    const now = registration(epoll, fd);
    return now?.events === from && native.changeEvents(epoll, fd, to, now.data);
  };
  /** Opens the slave for the call only: the state belongs to the tty, and an open slave would hide the program's end. */
  const flow = (action: number): void => {
    if (ttyIndexOf(fd) !== index) return;
    try {
      const slave = openSync(`/dev/pts/${index}`, constants.O_RDWR | constants.O_NOCTTY);
      native.tcflow(slave, action);
      closeSync(slave);
    } catch {
      // Hung up: no program writes any more.
    }
  };
  return {
    close: () => set(armed, EPOLLONESHOT),
    // Any other registration means that it was hung up: Bun reads on by itself.
    open: () => registration(epoll, fd)?.events !== HELD || set(HELD, armed),
    halt() {
      Bun.sleepSync(TIME_TO_FILL);
      flow(TCOOFF);
    },
    release: () => flow(TCOON),
  };
}

/** "tfd:        7 events: 40000019 data:  800020b88530028  pos:0 …", numbers in hexadecimal but the first. */
export function parseRegistration(text: string, fd: number): { events: number; data: bigint } | undefined {
  for (const [, target, events, data] of text.matchAll(
    /^tfd:\s*(\d+) events:\s*([\da-f]+) data:\s*([\da-f]+)/gm,
  ))
    if (Number(target) === fd)
      return { events: Number.parseInt(events ?? "", 16), data: BigInt(`0x${data}`) };
  return undefined;
}

const registration = (epoll: number, fd: number): { events: number; data: bigint } | undefined =>
  parseRegistration(readDescriptor(epoll), fd);

function epolls(): number[] {
  return readdirSync("/proc/self/fd")
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:[eventpoll]";
      } catch {
        return false;
      }
    })
    .map(Number);
}
