// Starts a program on bun-pty, for hosts where the other modes fail. Loaded only then.
//
// Measured with 0.4.11: bytes that are no UTF-8 are lost, as is the signal that ended a program; a closed session leaks
// four descriptors, and its kill() sends SIGHUP to the pid even when the program has long been waited for.
import { milliseconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { identify, isAlive } from "../../platform/processes.ts";
import { giveTo, openMasters, ptyOpenedSince, slaveOf } from "./descriptors.ts";
import type { Pty, PtyOrder } from "./pty.ts";

/** bun-pty adds our whole environment to the child's: `env -i` removes it. Its arguments hold no secrets. */
export async function spawnMinimal(order: PtyOrder): Promise<Pty> {
  const { spawn } = await import("bun-pty");
  const variables = Object.entries(order.environment).map(([name, value]) => `${name}=${value}`);
  const before = openMasters();
  const pty = spawn("/usr/bin/env", ["-i", ...variables, ...order.command], {
    name: order.environment["TERM"] ?? "xterm-256color",
    cols: order.cols,
    rows: order.rows,
    cwd: "/",
  });
  const opened = ptyOpenedSince(before);
  const slave = opened === undefined ? slaveOf(pty.pid) : `/dev/pts/${opened.index}`;
  if (order.owner !== undefined && slave !== undefined) giveTo(slave, order.owner);

  const over = Promise.withResolvers<void>();
  const decoder = new TextDecoder();
  let open = true;
  let code: number | null = null;
  const end = (exitCode: number | null): void => {
    if (!open) return;
    open = false;
    code = exitCode;
    over.resolve();
  };
  // `onExit` is called after the last output, but not after a failed read.
  pty.onData((text) => order.onData(Buffer.from(text)));
  pty.onExit(({ exitCode, signal }) => end(signal === undefined ? exitCode : null));
  void vanished(pty.pid, over.promise).then(() => end(null));

  return {
    pid: pty.pid,
    mode: "pty-minimal",
    write(bytes) {
      if (open) pty.write(decoder.decode(bytes, { stream: true }));
      return true;
    },
    resize(cols, rows) {
      if (open) pty.resize(cols, rows);
    },
    pausable: false,
    pause() {},
    resume() {},
    exited: over.promise.then(() => ({ exitCode: code, signal: null })),
    drained: over.promise,
    close() {
      if (open) pty.kill();
      end(null);
    },
  };
}

/** Resolves at most 0.5 s after the process has ended, or with `over`. */
async function vanished(pid: number, over: Promise<void>): Promise<void> {
  const program = identify(pid);
  const enough = new AbortController();
  void over.then(() => enough.abort());
  const living = (): boolean => program !== undefined && isAlive(program);
  do await sleep(milliseconds(500), enough.signal);
  while (!enough.signal.aborted && living());
}
