// All terminals of this node: hears what the control plane asks for, starts sessions, ends what an earlier agent left.
import type { Database } from "bun:sqlite";
import * as v from "valibot";
import { shortId } from "../lib/text.ts";
import { abortScope } from "../lib/abort-scope.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import type { RootAccess } from "../identity/root-access.ts";
import type { Runner } from "../platform/account.ts";
import { type Census, sharedCensus } from "../platform/process-table.ts";
import type { View } from "../platform/isolation.ts";
import type { Log } from "../platform/log.ts";
import {
  AboutSession,
  TERMINAL_COLS,
  TERMINAL_ROWS,
  TerminalInput,
  TerminalResize,
  TerminalStart,
  TerminalStop,
} from "../protocol/noderax/terminal.ts";
import { allows } from "../protocol/noderax/root-access.ts";
import type { Channel } from "../realtime/channel.ts";
import { deliver } from "./delivery.ts";
import { type FlowControl, loadFlowControl } from "./pty/flow-control.ts";
import { decodeInput } from "./input.ts";
import { createLedger } from "./session-store.ts";
import { endLeftOver, settleLeftOver } from "./stale-session.ts";
import type { PtyMode } from "./pty/pty.ts";
import { refusalOf } from "./refusal.ts";
import { exited, failed } from "./reports.ts";
import { type Session, type TerminalSummary, startSession } from "./session.ts";
import { COOKIE } from "./shell.ts";
import { createStrangers } from "./unknown-sessions.ts";

export type TerminalSettings = Pick<
  Settings,
  "allow_terminal" | "max_terminals" | "terminal_idle_limit" | "terminal_max_length" | "terminal_kill_grace"
>;

export interface TerminalPorts {
  readonly channel: Channel;
  /** Has `terminalMigration`. */
  readonly database: Database;
  readonly rootAccess: Pick<RootAccess, "profile" | "refusal" | "onChange">;
  /** `task`: whose shell a terminal is. `root`: whose, when the operator asks for root and may have it. */
  readonly runners: { readonly task: Runner; readonly root: Runner };
  /** What a shell sees of the processes and terminals of others. */
  readonly view: (asRoot: boolean) => Promise<View>;
  /** The soft limit of open files for shells; undefined: ours. */
  readonly openFiles: number | undefined;
  readonly settings: TerminalSettings;
  readonly log: Log;
  /** For tests: only these start modes; what holds output back; who is alive. */
  readonly modes?: readonly PtyMode[];
  readonly loadFlow?: () => Promise<FlowControl | undefined>;
  readonly look?: () => Promise<Census>;
}

export interface Terminals {
  /** Ends what an earlier agent left, and tells the control plane until it knows. */
  resume(): void;
  active(): TerminalSummary[];
  /** Ends every terminal and tells the control plane, within `grace`. What could not be told is after the next start. */
  stop(grace: Duration): Promise<void>;
}

/** The control plane gives a terminal up after so long without an answer. */
const START_PATIENCE = seconds(15);

/** The control plane waits 10 s for the end of a terminal that was stopped while we were away; then it is closed. */
const STOP_PATIENCE = seconds(12);

/** Listens from now on. */
export function createTerminals(ports: TerminalPorts): Terminals {
  const { channel, settings, log, look = sharedCensus(COOKIE) } = ports;
  const ledger = createLedger(ports.database, log);
  const sessions = new Map<string, Session>();
  /** Those of which anything runs; the others only have to be told. */
  const running = new Set<string>();
  const strangers = createStrangers();
  const life = new AbortController();
  const leftOvers = new Set<Promise<void>>();
  let stopping = false;
  let flow: Promise<FlowControl | undefined> | undefined;
  const loadFlow = (): Promise<FlowControl | undefined> => (flow ??= (ports.loadFlow ?? loadFlowControl)());

  function onStart(body: unknown): void {
    const id = sessionOf(body);
    if (id === undefined) return log.debug("terminal", "a start without a session was ignored");
    // A second start of the same: an error would make the live session fail.
    if (sessions.has(id)) return;
    const wanted = v.safeParse(TerminalStart, body);
    if (!wanted.success)
      return refuse(id, `This agent cannot start such a terminal: ${explain(wanted.issues)}.`);
    const { cols, rows, runAsRoot: asRoot } = wanted.output;
    const refusal = refusalOf({
      allowed: settings.allow_terminal,
      open: sessions.size,
      limit: settings.max_terminals,
      asRoot,
      rootAccess: ports.rootAccess,
      stopping,
    });
    if (refusal !== undefined) return refuse(id, refusal);
    const session = startSession(
      {
        id,
        cols: cols || TERMINAL_COLS.usual,
        rows: rows || TERMINAL_ROWS.usual,
        asRoot,
        runner: asRoot ? ports.runners.root : ports.runners.task,
      },
      {
        channel,
        ledger,
        log,
        look,
        loadFlow,
        view: ports.view,
        openFiles: ports.openFiles,
        language: process.env["LANG"],
        modes: ports.modes,
        limits: { idle: settings.terminal_idle_limit, length: settings.terminal_max_length },
        grace: settings.terminal_kill_grace,
      },
      life.signal,
    );
    sessions.set(id, session);
    running.add(id);
    void session.over.then(() => running.delete(id));
    void session.done.then(() => sessions.delete(id));
  }

  function refuse(id: string, message: string): void {
    log.warn("terminal", `${shortId(id)} refused: ${message}`, { session_id: id });
    void answer(failed(id, message));
  }

  /** Tries for as long as the control plane waits. */
  async function answer(event: Parameters<typeof deliver>[1]): Promise<void> {
    using scope = abortScope([life.signal], START_PATIENCE);
    await deliver(channel, event, scope.signal);
  }

  /** Hands a well-formed event to its session; answers for one that is unknown, lest it stay open for ever. */
  function hear<Schema extends v.GenericSchema<unknown, { sessionId: string }>>(
    event: string,
    schema: Schema,
    act: (session: Session, body: v.InferOutput<Schema>) => void,
  ): void {
    channel.on(event, (body) => {
      const id = sessionOf(body);
      if (id === undefined) return log.debug("terminal", `${event} without a session was ignored`);
      const session = sessions.get(id);
      if (session === undefined) return answerStranger(id);
      const parsed = v.safeParse(schema, body);
      if (parsed.success) act(session, parsed.output);
      else log.debug("terminal", `${event} was ignored: ${explain(parsed.issues)}`, { session_id: id });
    });
  }

  function answerStranger(id: string): void {
    if (!strangers.mayAnswer(id)) return;
    const end = { exitCode: null, reason: "not running any more: it has ended, or the agent was restarted" };
    void answer(exited(id, end));
  }

  /** What became of the terminals while we were away we are not told: the shell of one that is over would live on. */
  async function askAround(): Promise<void> {
    for (const session of sessions.values()) session.probe();
    if (sessions.size === 0) return;
    await sleep(STOP_PATIENCE, life.signal);
    if (!life.signal.aborted) for (const session of sessions.values()) session.probe();
  }

  /** A profile that is taken back takes its open terminals back too. */
  function endUnpermitted(): void {
    const profile = ports.rootAccess.profile();
    if (allows(profile, "terminal")) return;
    const reason = `Root access was withdrawn: the root access profile of this node is now "${profile}".`;
    for (const session of sessions.values()) if (session.summary().root) session.stop(reason);
  }

  ports.rootAccess.onChange(endUnpermitted);
  channel.onOnline(() => void askAround());
  channel.on("terminal.start", onStart);
  hear("terminal.input", TerminalInput, (session, { sessionId, payload }) => {
    const bytes = decodeInput(payload);
    if (bytes !== undefined) session.input(bytes);
    else
      log.debug("terminal", "input that is no base64, or too long, was ignored", { session_id: sessionId });
  });
  hear("terminal.resize", TerminalResize, (session, { cols, rows }) => session.resize(cols, rows));
  hear("terminal.stop", TerminalStop, (session, { reason }) =>
    session.stop(reason || "terminated by the control plane"),
  );

  return {
    resume() {
      for (const entry of ledger.all()) {
        const ended = settleLeftOver(
          entry,
          { channel, ledger, log, look, grace: settings.terminal_kill_grace },
          life.signal,
        );
        leftOvers.add(ended);
        void ended.finally(() => leftOvers.delete(ended));
      }
    },
    active: () => [...sessions].filter(([id]) => running.has(id)).map(([, session]) => session.summary()),
    async stop(grace) {
      stopping = true;
      const enough = new AbortController();
      const limit = sleep(grace, enough.signal);
      const all = [...sessions.values()];
      const every = (promises: Promise<void>[]): Promise<unknown> =>
        Promise.race([Promise.all(promises), limit]);
      // Half of it for the shells, so that there is time to tell.
      for (const session of all) session.stop("the agent was stopped", grace / 2);
      await every(all.map(({ over }) => over));
      if (channel.online()) await every(all.map(({ done }) => done));
      life.abort();
      await every([...all.map(({ done }) => done), ...leftOvers]);
      enough.abort();
    },
  };
}

/**
 * Where the owner switched the realtime session off after a crash: ends what the earlier agent left running. The control
 * plane is told once there is a session again. Never rejects.
 */
export async function endLeftOvers({
  database,
  log,
  grace,
}: {
  readonly database: Database;
  readonly log: Log;
  readonly grace: Duration;
}): Promise<void> {
  const ledger = createLedger(database, log);
  const look = sharedCensus(COOKIE);
  await Promise.all(ledger.all().map((entry) => endLeftOver(entry, { ledger, log, look, grace })));
}

function sessionOf(body: unknown): string | undefined {
  const about = v.safeParse(AboutSession, body);
  return about.success ? about.output.sessionId : undefined;
}

/** "cols: Invalid value: Expected <=400 but received 500". */
const explain = (issues: readonly v.BaseIssue<unknown>[]): string =>
  issues.map((issue) => `${v.getDotPath(issue) ?? "body"}: ${issue.message}`).join("; ");
