// One terminal session: starts the shell, relays its input and output, ends it, and reports the end. session-phase.ts
// has the phases.
//
// After an end of the shell's own, processes that the person left running on purpose (nohup, disown, setsid) stay alive,
// as with ssh; every other end leaves none. The order on the wire is opened, output …, exited, each behind the ack of the
// one before.
import { abortScope } from "../lib/abort-scope.ts";
import { messageOf } from "../lib/agent-error.ts";
import { shortId } from "../lib/text.ts";
import { within } from "../lib/until.ts";
import { type Duration, humanDuration, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import type { Runner } from "../platform/account.ts";
import type { ProcessTable } from "../platform/process-table.ts";
import type { View } from "../platform/isolation.ts";
import type { Log } from "../platform/log.ts";
import { type ProcessId, hangUp, identify } from "../platform/processes.ts";
import { steadyNow } from "../lib/clock.ts";
import type { Channel } from "../realtime/channel.ts";
import { deliver, isUnknown } from "./delivery.ts";
import { terminalProcesses } from "./process-tree.ts";
import type { FlowControl } from "./pty/flow-control.ts";
import { type Launched, launchShell } from "./launch.ts";
import { LAUNCHING, type SessionEvent, next } from "./session-phase.ts";
import type { SessionStore } from "./session-store.ts";
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

export interface TerminalSessionPorts {
  readonly channel: Channel;
  readonly store: SessionStore;
  readonly log: Log;
  readonly loadFlow: () => Promise<FlowControl | undefined>;
  /** Whether the shell sees the processes and terminals of others. */
  readonly view: (asRoot: boolean) => Promise<View>;
  /** The soft limit of open files for shells. */
  readonly openFiles: number | undefined;
  /** Lists the machine's processes; shared by all terminals. */
  readonly listProcesses: () => Promise<ProcessTable>;
  /** The agent's own LANG. */
  readonly language: string | undefined;
  /** For tests: only these start modes. */
  readonly modes?: readonly PtyMode[] | undefined;
  readonly limits: { readonly idle: Duration; readonly length: Duration };
  /** Between the hang-up and SIGKILL. */
  readonly grace: Duration;
}

export interface TerminalSummary {
  readonly id: string;
  /** The user of the shell. */
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

export interface TerminalSession {
  summary(): TerminalSummary;
  input(bytes: Uint8Array): void;
  resize(cols: number, rows: number): void;
  /** Asks the control plane, by an empty output, whether it still has this session. */
  probe(): void;
  /** Ends the session and all its processes, within `grace` if that is shorter. The first reason counts. */
  stop(reason: string, grace?: Duration): void;
  /** Resolves when no process of it is left to end, reported or not. */
  readonly over: Promise<void>;
  /** Resolves when the control plane has acknowledged the end, or `signal` aborted. Never rejects. */
  readonly done: Promise<void>;
}

/** Aborting `signal` gives up reporting, but does not end the shell: call `stop` before. */
export const startSession = (
  order: SessionOrder,
  ports: TerminalSessionPorts,
  signal: AbortSignal,
): TerminalSession => new LiveSession(order, ports, signal);

class LiveSession implements TerminalSession {
  readonly over: Promise<void>;
  readonly done: Promise<void>;
  readonly #order: SessionOrder;
  readonly #ports: TerminalSessionPorts;
  readonly #signal: AbortSignal;
  readonly #name: string;
  readonly #startedAt = steadyNow();
  readonly #stream = createOutputStream();
  /** Typed before there was a shell. */
  readonly #early: Uint8Array[] = [];
  readonly #killed = Promise.withResolvers<void>();
  readonly #ending = new AbortController();
  readonly #over = new AbortController();
  #state = LAUNCHING;
  #shell: { readonly pty: Pty; readonly leader: ProcessId | undefined } | undefined;
  #exit: PtyExit = { exitCode: null, signal: null };
  #size: { readonly cols: number; readonly rows: number };
  #grace: Duration;
  #lastActive = this.#startedAt;
  #inputDropped = false;
  #killing: Promise<void> | undefined;

  constructor(order: SessionOrder, ports: TerminalSessionPorts, signal: AbortSignal) {
    this.#order = order;
    this.#ports = ports;
    this.#signal = signal;
    this.#name = shortId(order.id);
    this.#size = { cols: order.cols, rows: order.rows };
    this.#grace = ports.grace;
    this.over = new Promise((resolve) => this.#over.signal.addEventListener("abort", () => resolve()));
    this.done = this.#run()
      .catch((error: unknown) => this.#logError(error))
      .finally(() => this.#over.abort());
  }

  summary(): TerminalSummary {
    const { id, asRoot, runner } = this.#order;
    return {
      id,
      account: runner.account.name,
      root: asRoot,
      ...this.#size,
      age: steadyNow() - this.#startedAt,
      idle: steadyNow() - this.#lastActive,
      mode: this.#shell?.pty.mode,
    };
  }

  input(bytes: Uint8Array): void {
    this.#lastActive = steadyNow();
    const taken = this.#shell === undefined ? this.#early.length < EARLY_MAX : this.#shell.pty.write(bytes);
    if (taken && this.#shell === undefined) this.#early.push(bytes);
    // Notify once per run of dropped input. An error would make the control plane fail the session.
    if (!taken && !this.#inputDropped) this.#onData(Buffer.from(INPUT_DROPPED));
    this.#inputDropped = !taken;
  }

  resize(cols: number, rows: number): void {
    this.#size = { cols, rows };
    this.#shell?.pty.resize(cols, rows);
  }

  probe(): void {
    this.#stream.probe();
  }

  stop(reason: string, grace = this.#grace): void {
    this.#grace = Math.min(this.#grace, grace);
    this.#apply({ type: "stopped", reason });
  }

  /** The only place where the phase changes, and where an end by the agent begins. */
  #apply(event: SessionEvent): void {
    const before = this.#state.phase;
    this.#state = next(this.#state, event);
    if (this.#state.phase !== "ending" || before === "ending") return;
    this.#ending.abort();
    this.#stream.release();
    this.#killing = this.#kill();
  }

  async #run(): Promise<void> {
    this.#ports.store.starting(this.#order.id);
    let launched: Launched | undefined;
    try {
      launched = await this.#launch();
    } catch (error) {
      return this.#reportFailure(error);
    }
    const outcome = launched === undefined ? this.#settle() : await this.#serve(launched);
    this.#apply({ type: "delivered" });
    await this.#report(outcome);
    this.#apply({ type: "reported" });
  }

  /** Resolves with undefined when the session was stopped meanwhile and no shell was started. */
  async #launch(): Promise<Launched | undefined> {
    const { id, runner, asRoot } = this.#order;
    const { language, modes, openFiles, loadFlow, view, log } = this.#ports;
    const order = {
      sessionId: id,
      runner,
      asRoot,
      size: () => this.#size,
      language,
      flow: await loadFlow(),
      modes,
      view: await view(asRoot),
      openFiles,
      log,
      onData: (bytes: Uint8Array) => this.#onData(bytes),
    };
    return launchShell(order, () => this.#state.phase === "ending");
  }

  /** From the running shell to the last frame of its output. */
  async #serve({ pty, shell, isAttached }: Launched): Promise<SessionEnd> {
    const { id, asRoot, runner } = this.#order;
    const leader = identify(pty.pid);
    this.#shell = { pty, leader };
    for (const bytes of this.#early.splice(0)) this.input(bytes);
    this.#stream.hold(pty);
    void pty.exited.then((exit) => {
      this.#exit = exit;
      if (isAttached && exit.signal !== null) this.stop(`killed by ${exit.signal}`);
      this.#apply({ type: "exited" });
    });
    if (leader !== undefined) this.#ports.store.started(id, leader);
    this.#ports.log.info("terminal", `${this.#name} started: ${shell} as ${runner.account.name}`, {
      session_id: id,
      mode: pty.mode,
      root: asRoot,
    });
    const settled = this.#settled(pty);
    this.#apply({ type: "started" });
    // Stopped while the shell was being started: only now is there something to end.
    if (this.#state.phase === "ending") this.#killing = this.#kill();
    void this.#watchLimits();
    await this.#open();
    await this.#stream.run((frame) => this.#send(frame));
    return settled;
  }

  #onData(bytes: Uint8Array): void {
    this.#lastActive = steadyNow();
    this.#stream.push(bytes);
  }

  async #kill(): Promise<void> {
    if (this.#shell === undefined) return;
    const { pty, leader } = this.#shell;
    const { id } = this.#order;
    const all = await hangUp(terminalProcesses(id, leader, this.#ports.listProcesses), this.#grace);
    if (!all)
      this.#ports.log.warn("terminal", `${this.#name}: some of its processes cannot be ended`, {
        session_id: id,
      });
    // The kernel's own hang-up also reaches processes of another user (sudo, where the agent is not root).
    await within(pty.drained, seconds(1));
    pty.close();
    this.#killed.resolve();
  }

  /** Resolves when all output was read and, if the agent ends the session, no process is left that it can end. */
  async #settled(pty: Pty): Promise<SessionEnd> {
    await Promise.race([pty.drained, this.#killed.promise]);
    this.#stream.finish();
    await this.#killing;
    pty.close();
    return this.#settle();
  }

  #settle(): SessionEnd {
    const { id } = this.#order;
    const outcome = endOf(this.#exit, this.#state.reason);
    this.#ports.store.ended(id, outcome);
    const age = humanDuration(steadyNow() - this.#startedAt);
    this.#ports.log.info("terminal", `${this.#name} ended after ${age}`, {
      session_id: id,
      exit_code: outcome.exitCode,
      reason: outcome.reason,
    });
    this.#apply({ type: "settled" });
    this.#over.abort();
    return outcome;
  }

  async #open(): Promise<void> {
    using scope = abortScope([this.#signal, this.#ending.signal]);
    const answer = await deliver(this.#ports.channel, opened(this.#order.id, this.#size), scope.signal);
    const status = answer?.ok === true ? (answer.status ?? "open") : undefined;
    if (status === "open") return this.#apply({ type: "accepted" });
    this.#stream.mute();
    if (answer === undefined) return;
    this.#apply({
      type: "rejected",
      reason: `the control plane did not take the terminal (${answer.message ?? `it is ${String(status)}`})`,
      // A session that failed or is closed has its end already.
      endExpected: answer.ok ? status === "terminating" : !isUnknown(answer),
    });
  }

  async #send(frame: Uint8Array): Promise<void> {
    const answer = await deliver(this.#ports.channel, output(this.#order.id, frame), this.#signal);
    if (answer?.ok === true && answer.seq !== null) return;
    this.#stream.mute();
    if (answer === undefined) return;
    this.#apply({
      type: "rejected",
      reason: "the control plane takes no more output of this terminal",
      endExpected: !isUnknown(answer),
    });
  }

  async #report(outcome: SessionEnd): Promise<void> {
    const { channel, store } = this.#ports;
    const { id } = this.#order;
    const { endExpected } = this.#state;
    if (endExpected && (await deliver(channel, exited(id, outcome), this.#signal)) === undefined) return;
    store.forget(id);
  }

  async #reportFailure(error: unknown): Promise<void> {
    const { channel, store } = this.#ports;
    this.#logError(error);
    this.#apply({ type: "failed" });
    this.#over.abort();
    await deliver(channel, failed(this.#order.id, messageOf(error)), this.#signal);
    store.forget(this.#order.id);
    this.#apply({ type: "reported" });
  }

  async #watchLimits(): Promise<void> {
    const { idle, length } = this.#ports.limits;
    while (!this.#over.signal.aborted) {
      const now = steadyNow();
      const [idleLeft, left] = [this.#lastActive + idle - now, this.#startedAt + length - now];
      if (left <= 0) return this.stop(`open for ${humanDuration(length)}, the longest a terminal may be`);
      if (idleLeft <= 0) return this.stop(`not used for ${humanDuration(idle)}`);
      await sleep(Math.min(idleLeft, left), this.#over.signal);
    }
  }

  #logError(error: unknown): void {
    this.#ports.log.error("terminal", `${this.#name}: ${messageOf(error)}`, { session_id: this.#order.id });
  }
}

/** Events: at most so many keystrokes or pastes of 24 kB wait for a shell that is slow to start. */
const EARLY_MAX = 64;
const INPUT_DROPPED = "\r\n[… nothing reads what is typed here: the last input was thrown away …]\r\n";
