// All terminals of this node: handles the control plane's terminal events and keeps the open sessions.
import type { Database } from "bun:sqlite";
import * as v from "valibot";
import { shortId } from "../lib/text.ts";
import { abortScope } from "../lib/abort-scope.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import type { RootAccess } from "../identity/root-access.ts";
import type { Runner } from "../platform/account.ts";
import { type ProcessTable, sharedProcessTable } from "../platform/process-table.ts";
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
import { createSessionStore } from "./session-store.ts";
import { endStaleSession, settleStaleSession } from "./stale-session.ts";
import type { PtyMode } from "./pty/pty.ts";
import { refusalOf } from "./refusal.ts";
import { exited, failed } from "./reports.ts";
import { type TerminalSession, type TerminalSummary, startSession } from "./session.ts";
import { TERMINAL_MARKER } from "./shell.ts";
import { createUnknownSessions } from "./unknown-sessions.ts";

export type TerminalSettings = Pick<
  Settings,
  "allow_terminal" | "max_terminals" | "terminal_idle_limit" | "terminal_max_length" | "terminal_kill_grace"
>;

export interface TerminalPorts {
  readonly channel: Channel;
  /** Has `terminalMigration`. */
  readonly database: Database;
  readonly rootAccess: Pick<RootAccess, "profile" | "refusal" | "onChange">;
  /** `task` runs the shell of a usual terminal, `root` that of a terminal for which the operator asks root access. */
  readonly runners: { readonly task: Runner; readonly root: Runner };
  /** Whether a shell sees the processes and terminals of others. */
  readonly view: (asRoot: boolean) => Promise<View>;
  /** The soft limit of open files for shells; undefined: the agent's own. */
  readonly openFiles: number | undefined;
  readonly settings: TerminalSettings;
  readonly log: Log;
  /** For tests. */
  readonly modes?: readonly PtyMode[];
  readonly loadFlow?: () => Promise<FlowControl | undefined>;
  readonly listProcesses?: () => Promise<ProcessTable>;
}

export interface Terminals {
  /** Ends the sessions of an earlier process, and reports each until it is acknowledged. */
  resume(): void;
  active(): TerminalSummary[];
  /** Ends every terminal and reports it, within `grace`. Ends that could not be reported are sent after the next start. */
  stop(grace: Duration): Promise<void>;
}

/** The control plane fails a terminal that is not answered within this time. */
const START_PATIENCE = seconds(15);

/** Longer than the 10 s for which the control plane waits for the end of a terminal it stopped while we were offline. */
const STOP_PATIENCE = seconds(12);

/** Handles terminal events from now on. */
export function createTerminals(ports: TerminalPorts): Terminals {
  const { channel, settings, log, listProcesses = sharedProcessTable(TERMINAL_MARKER) } = ports;
  const store = createSessionStore(ports.database, log);
  const sessions = new Map<string, TerminalSession>();
  /** Ids of sessions with processes; for the others only the report of the end is left to send. */
  const running = new Set<string>();
  const unknownSessions = createUnknownSessions();
  const stopped = new AbortController();
  const staleSessions = new Set<Promise<void>>();
  let stopping = false;
  let flow: Promise<FlowControl | undefined> | undefined;
  const loadFlow = (): Promise<FlowControl | undefined> => (flow ??= (ports.loadFlow ?? loadFlowControl)());

  function onStart(body: unknown): void {
    const id = sessionOf(body);
    if (id === undefined) return log.debug("terminal", "a start without a session was ignored");
    // A repeated start: an error would make the control plane fail the open session.
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
        store,
        log,
        listProcesses,
        loadFlow,
        view: ports.view,
        openFiles: ports.openFiles,
        language: process.env["LANG"],
        modes: ports.modes,
        limits: { idle: settings.terminal_idle_limit, length: settings.terminal_max_length },
        grace: settings.terminal_kill_grace,
      },
      stopped.signal,
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

  /** Sends an event, for at most as long as the control plane waits. */
  async function answer(event: Parameters<typeof deliver>[1]): Promise<void> {
    using scope = abortScope([stopped.signal], START_PATIENCE);
    await deliver(channel, event, scope.signal);
  }

  /** Passes valid events to their session. For an unknown session it answers `terminal.exited`: it would stay open otherwise. */
  function handle<Schema extends v.GenericSchema<unknown, { sessionId: string }>>(
    event: string,
    schema: Schema,
    act: (session: TerminalSession, body: v.InferOutput<Schema>) => void,
  ): void {
    channel.on(event, (body) => {
      const id = sessionOf(body);
      if (id === undefined) return log.debug("terminal", `${event} without a session was ignored`);
      const session = sessions.get(id);
      if (session === undefined) return answerUnknown(id);
      const parsed = v.safeParse(schema, body);
      if (parsed.success) act(session, parsed.output);
      else log.debug("terminal", `${event} was ignored: ${explain(parsed.issues)}`, { session_id: id });
    });
  }

  function answerUnknown(id: string): void {
    if (!unknownSessions.mayAnswer(id)) return;
    const end = { exitCode: null, reason: "not running any more: it has ended, or the agent was restarted" };
    void answer(exited(id, end));
  }

  /**
   * Asks for every open session whether the control plane still has it: sessions that ended while the agent was offline
   * are not announced, and their shells would stay alive.
   */
  async function probeAll(): Promise<void> {
    for (const session of sessions.values()) session.probe();
    if (sessions.size === 0) return;
    await sleep(STOP_PATIENCE, stopped.signal);
    if (!stopped.signal.aborted) for (const session of sessions.values()) session.probe();
  }

  /** Ends open root terminals when the root access profile no longer allows them. */
  function endUnpermitted(): void {
    const profile = ports.rootAccess.profile();
    if (allows(profile, "terminal")) return;
    const reason = `Root access was withdrawn: the root access profile of this node is now "${profile}".`;
    for (const session of sessions.values()) if (session.summary().root) session.stop(reason);
  }

  ports.rootAccess.onChange(endUnpermitted);
  channel.onOnline(() => void probeAll());
  channel.on("terminal.start", onStart);
  handle("terminal.input", TerminalInput, (session, { sessionId, payload }) => {
    const bytes = decodeInput(payload);
    if (bytes !== undefined) session.input(bytes);
    else
      log.debug("terminal", "input that is no base64, or too long, was ignored", { session_id: sessionId });
  });
  handle("terminal.resize", TerminalResize, (session, { cols, rows }) => session.resize(cols, rows));
  handle("terminal.stop", TerminalStop, (session, { reason }) =>
    session.stop(reason || "terminated by the control plane"),
  );

  return {
    resume() {
      for (const session of store.all()) {
        const ended = settleStaleSession(
          session,
          { channel, store, log, listProcesses, grace: settings.terminal_kill_grace },
          stopped.signal,
        );
        staleSessions.add(ended);
        void ended.finally(() => staleSessions.delete(ended));
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
      // Half of the grace for the shells: the rest is for reporting their ends.
      for (const session of all) session.stop("the agent was stopped", grace / 2);
      await every(all.map(({ over }) => over));
      if (channel.online()) await every(all.map(({ done }) => done));
      stopped.abort();
      await every([...all.map(({ done }) => done), ...staleSessions]);
      enough.abort();
    },
  };
}

/**
 * Ends the sessions that an earlier process left open, without reporting them: for an agent whose realtime session was
 * switched off. Their ends are reported when it is switched on again. Never rejects.
 */
export async function endStaleSessions({
  database,
  log,
  grace,
}: {
  readonly database: Database;
  readonly log: Log;
  readonly grace: Duration;
}): Promise<void> {
  const store = createSessionStore(database, log);
  const listProcesses = sharedProcessTable(TERMINAL_MARKER);
  const ports = { store, log, listProcesses, grace };
  await Promise.all(store.all().map((session) => endStaleSession(session, ports)));
}

function sessionOf(body: unknown): string | undefined {
  const about = v.safeParse(AboutSession, body);
  return about.success ? about.output.sessionId : undefined;
}

/** "cols: Invalid value: Expected <=400 but received 500". */
const explain = (issues: readonly v.BaseIssue<unknown>[]): string =>
  issues.map((issue) => `${v.getDotPath(issue) ?? "body"}: ${issue.message}`).join("; ");
