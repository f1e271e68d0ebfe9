// One terminal from its start to the acknowledged end.
//
//   launching ──▶ opening ──▶ open ──▶ draining ──▶ telling ──▶ done
//       │            │          └ stop, a limit, a server that listens no more: hang-up, grace, SIGKILL
//       └────────────┴─▶ the same, and `terminal.opened` is not sent any more
//
// A natural end leaves alone what the person left running on purpose (nohup, disown, setsid), as ssh does; every other
// end leaves nothing. The order on the wire is opened, output …, exited, each behind the ack of the one before.
import { shortId } from "../lib/text.ts";
import { within } from "../lib/until.ts";
import { abortScope } from "../lib/abort-scope.ts";
import { messageOf } from "../lib/agent-error.ts";
import { type Duration, humanDuration, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import type { Runner } from "../platform/account.ts";
import type { Census } from "../platform/process-table.ts";
import type { View } from "../platform/isolation.ts";
import type { Log } from "../platform/log.ts";
import { type ProcessId, hangUp, identify } from "../platform/processes.ts";
import { steadyNow } from "../lib/clock.ts";
import type { Channel } from "../realtime/channel.ts";
import { deliver, isUnknown } from "./delivery.ts";
import { terminalFamily } from "./process-tree.ts";
import type { FlowControl } from "./pty/flow-control.ts";
import { type Launched, launchShell } from "./launch.ts";
import type { Ledger } from "./session-store.ts";
import { createOutputStream } from "./output-stream.ts";
import type { Pty, PtyExit, PtyMode } from "./pty/pty.ts";
import { exited, failed, opened, output } from "./reports.ts";
import { type SessionEnd, endOf } from "./session-end.ts";

export interface SessionOrder {
  readonly id: string;
  readonly cols: number;
  readonly rows: number;
  readonly asRoot: boolean;
  readonly runner: Runner;
}

export interface SessionPorts {
  readonly channel: Channel;
  readonly ledger: Ledger;
  readonly log: Log;
  readonly loadFlow: () => Promise<FlowControl | undefined>;
  /** What the shell sees of others'. */
  readonly view: (asRoot: boolean) => Promise<View>;
  /** The soft limit of open files for shells. */
  readonly openFiles: number | undefined;
  /** At who is alive. One for all terminals. */
  readonly look: () => Promise<Census>;
  /** The agent's own LANG. */
  readonly language: string | undefined;
  /** For tests: only these. */
  readonly modes?: readonly PtyMode[] | undefined;
  readonly limits: { readonly idle: Duration; readonly length: Duration };
  /** Between the hang-up and SIGKILL. */
  readonly grace: Duration;
}

export interface TerminalSummary {
  readonly id: string;
  /** Whose shell it is. */
  readonly account: string;
  readonly root: boolean;
  readonly cols: number;
  readonly rows: number;
  readonly age: Duration;
  /** Since the last input or output. */
  readonly idle: Duration;
  /** Undefined until the shell runs. */
  readonly mode: PtyMode | undefined;
}

export interface Session {
  summary(): TerminalSummary;
  input(bytes: Uint8Array): void;
  resize(cols: number, rows: number): void;
  /** Asks the control plane, by an empty output, whether it still has this terminal. */
  probe(): void;
  /** Ends it and everything in it. The first reason counts. */
  stop(reason: string, grace?: Duration): void;
  /** Resolves when nothing of it runs any more, told or not. */
  readonly over: Promise<void>;
  /** Resolves when the control plane knows of the end, or `signal` aborted. Never rejects. */
  readonly done: Promise<void>;
}

/** Aborting `signal` gives up on telling, not on the shell: call `stop` before. */
export function startSession(order: SessionOrder, ports: SessionPorts, signal: AbortSignal): Session {
  const { id, asRoot, runner } = order;
  const { channel, ledger, log } = ports;
  const name = shortId(id);
  const bornAt = steadyNow();
  let lastActive = bornAt;
  let size = { cols: order.cols, rows: order.rows };
  let { grace } = ports;

  const stream = createOutputStream();
  let running: { readonly pty: Pty; readonly leader: ProcessId | undefined } | undefined;
  /** Typed before there was a shell. */
  const early: Uint8Array[] = [];
  let refused = false;
  let exit: PtyExit | undefined;
  /** Why we end it; undefined as long as it lives by itself. */
  let verdict: string | undefined;
  let killing: Promise<void> | undefined;
  const killed = Promise.withResolvers<void>();
  let tellEnd = true;
  const unopened = abortScope([signal]);
  const over = Promise.withResolvers<void>();
  const overSignal = new AbortController();

  function onData(bytes: Uint8Array): void {
    lastActive = steadyNow();
    stream.push(bytes);
  }

  function input(bytes: Uint8Array): void {
    lastActive = steadyNow();
    const taken = running === undefined ? early.length < EARLY_MAX : running.pty.write(bytes);
    if (taken && running === undefined) early.push(bytes);
    // Once for all that is thrown away in a row. An error would make the terminal fail over there.
    if (!taken && !refused) onData(Buffer.from(REFUSED_INPUT));
    refused = !taken;
  }

  function end(reason: string): void {
    if (verdict !== undefined || exit !== undefined) return;
    verdict = reason;
    unopened.abort();
    stream.release();
    killing = kill();
  }

  async function kill(): Promise<void> {
    if (running === undefined) return;
    const { pty, leader } = running;
    const all = await hangUp(terminalFamily(id, leader, ports.look), grace);
    if (!all) log.warn("terminal", `${name}: some of its processes cannot be ended`, { session_id: id });
    // The kernel's own hang-up reaches those of another user (sudo, where we are not root) as well.
    await within(pty.drained, seconds(1));
    pty.close();
    killed.resolve();
  }

  async function run(): Promise<void> {
    ledger.starting(id);
    let launched: Launched | undefined;
    try {
      const { language, modes, openFiles } = ports;
      const flow = await ports.loadFlow();
      const view = await ports.view(asRoot);
      launched = await launchShell(
        { sessionId: id, runner, asRoot, size: () => size, language, flow, modes, view, openFiles, onData },
        () => verdict !== undefined,
      );
    } catch (error) {
      log.error("terminal", `${name}: ${messageOf(error)}`, { session_id: id });
      over.resolve();
      await deliver(channel, failed(id, messageOf(error)), signal);
      ledger.forget(id);
      return;
    }
    if (launched === undefined) await tell(settle());
    else await accompany(launched);
  }

  async function accompany({ pty, shell }: Launched): Promise<void> {
    const leader = identify(pty.pid);
    running = { pty, leader };
    for (const bytes of early.splice(0)) input(bytes);
    stream.hold(pty);
    void pty.exited.then((how) => void (exit = how));
    if (leader !== undefined) ledger.started(id, leader);
    log.info("terminal", `${name} started: ${shell} as ${runner.account.name}`, {
      session_id: id,
      mode: pty.mode,
      root: asRoot,
    });
    const ended = gone(pty);
    if (verdict !== undefined) killing = kill();
    void watchLimits();
    await open();
    await stream.run(send);
    await tell(await ended);
  }

  /** Resolves when the output is at its end and, where we end it, nobody is left whom we can end. */
  async function gone(pty: Pty): Promise<SessionEnd> {
    await Promise.race([pty.drained, killed.promise]);
    stream.finish();
    await killing;
    pty.close();
    return settle();
  }

  async function open(): Promise<void> {
    const answer = await deliver(channel, opened(id, size), unopened.signal);
    const status = answer?.ok === true ? (answer.status ?? "open") : undefined;
    if (status === "open") return;
    stream.mute();
    if (answer === undefined) return;
    // One that failed or is closed has its end already.
    tellEnd = answer.ok ? status === "terminating" : !isUnknown(answer);
    end(`the control plane did not take the terminal (${answer.message ?? `it is ${String(status)}`})`);
  }

  async function send(frame: Uint8Array): Promise<void> {
    const answer = await deliver(channel, output(id, frame), signal);
    if (answer === undefined) stream.mute();
    else if (!answer.ok || answer.seq === null) {
      stream.mute();
      tellEnd = !isUnknown(answer);
      end("the control plane takes no more output of this terminal");
    }
  }

  function settle(): SessionEnd {
    const outcome = endOf(exit ?? { exitCode: null, signal: null }, verdict);
    ledger.ended(id, outcome);
    log.info("terminal", `${name} ended after ${humanDuration(steadyNow() - bornAt)}`, {
      session_id: id,
      exit_code: outcome.exitCode,
      reason: outcome.reason,
    });
    over.resolve();
    overSignal.abort();
    return outcome;
  }

  async function tell(outcome: SessionEnd): Promise<void> {
    if (tellEnd && (await deliver(channel, exited(id, outcome), signal)) === undefined) return;
    ledger.forget(id);
  }

  async function watchLimits(): Promise<void> {
    const { idle, length } = ports.limits;
    while (!overSignal.signal.aborted) {
      const [idleLeft, left] = [lastActive + idle - steadyNow(), bornAt + length - steadyNow()];
      if (left <= 0) return end(`open for ${humanDuration(length)}, the longest a terminal may be`);
      if (idleLeft <= 0) return end(`not used for ${humanDuration(idle)}`);
      await sleep(Math.min(idleLeft, left), overSignal.signal);
    }
  }

  const done = run()
    .catch((error: unknown) => log.error("terminal", `${name}: ${messageOf(error)}`, { session_id: id }))
    .finally(() => {
      over.resolve();
      overSignal.abort();
      unopened[Symbol.dispose]();
    });

  return {
    summary: () => ({
      id,
      account: runner.account.name,
      root: asRoot,
      ...size,
      age: steadyNow() - bornAt,
      idle: steadyNow() - lastActive,
      mode: running?.pty.mode,
    }),
    input,
    resize(cols, rows) {
      size = { cols, rows };
      running?.pty.resize(cols, rows);
    },
    probe: () => stream.probe(),
    stop(reason, within) {
      grace = Math.min(grace, within ?? grace);
      end(reason);
    },
    over: over.promise,
    done,
  };
}

/** Events: at most so many keystrokes or pastes of 24 kB wait for a shell that takes its time. */
const EARLY_MAX = 64;
const REFUSED_INPUT = "\r\n[… nothing reads what is typed here: the last input was thrown away …]\r\n";
