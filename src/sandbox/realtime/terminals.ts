// Terminal sessions between operators and agents.
//
//   pending ──opened──▶ open ──stop──▶ terminating ──exited, or 10 s──▶ closed
//      │                  ▲──── opened ────┘
//      └── 15 s, or terminal.error, or no route for a keystroke ──▶ failed
//
// The table is the authority; in memory are only timers, listeners and counters of active sessions.
import { shortId } from "../../lib/text.ts";
import type { Duration } from "../../lib/duration.ts";
import type { Log } from "../../platform/log.ts";
import { TERMINAL_COLS, TERMINAL_ROWS } from "../../protocol/noderax/terminal.ts";
import { TERMINAL_NOT_OPENED } from "../documents.ts";
import { badRequest, conflict } from "../http/api-error.ts";
import { checkTerminalGate } from "../noderax/root-gate.ts";
import type { ChunkRow, NodeRow, TerminalRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import type { Timings } from "../timings.ts";

/** Sends an event to a node's agent; false when it is not connected or does not read. */
export type Send = (nodeId: string, event: string, body: object) => boolean;

export interface Size {
  readonly cols: number;
  readonly rows: number;
}

/** An event for a viewer. */
export type TerminalNews =
  | { readonly kind: "chunk"; readonly chunk: ChunkRow }
  | { readonly kind: "state"; readonly terminal: TerminalRow };
export type TerminalListener = (news: TerminalNews) => void;

interface ActiveSession {
  readonly listeners: Set<TerminalListener>;
  lastSeq: number;
  bytes: number;
  /** The transcript is full: nothing more is stored. */
  full: boolean;
  /** At most one of each: the 15 s, the 10 s, the grace without viewers. */
  readonly timers: Map<"open" | "stop" | "detach", NodeJS.Timeout>;
}

export interface SandboxTerminalPorts {
  readonly store: Store;
  readonly timings: Timings;
  readonly send: Send;
  readonly log: Log;
}

/** Bytes a keystroke event carries at most: 32 000 characters of base64. */
const INPUT_CHUNK = 24_000;
const FULL = "transcript-overflow";

export const isOver = ({ status }: Pick<TerminalRow, "status">): boolean =>
  status === "closed" || status === "failed";

export class SandboxTerminals {
  readonly #ports: SandboxTerminalPorts;
  readonly #active = new Map<string, ActiveSession>();
  #closed = false;

  /** Sessions of an earlier run continue; their time limits start again. */
  constructor(ports: SandboxTerminalPorts) {
    this.#ports = ports;
    for (const { id, status } of ports.store.terminals.all("status IN ('pending', 'terminating')")) {
      if (status === "pending") this.#awaitOpening(id);
      else this.#awaitExit(id);
    }
  }

  // The operator's side. Refusals are thrown as ApiError.

  /** `unchecked` leaves the check of the root profile to the agent. */
  open(
    node: NodeRow,
    { cols, rows, runAsRoot }: Size & { readonly runAsRoot: boolean },
    unchecked = false,
  ): TerminalRow {
    checkSize({ cols, rows });
    if (node.status === "offline") throw badRequest(`Node ${node.hostname} is offline.`);
    if (runAsRoot && !unchecked) checkTerminalGate(node);
    const terminal = this.#ports.store.terminals.insert({
      id: crypto.randomUUID(),
      nodeId: node.id,
      status: "pending",
      cols,
      rows,
      runAsRoot,
      exitCode: null,
      closedReason: null,
      createdAt: isoNow(),
      openedAt: null,
      closedAt: null,
    });
    this.#ports.log.info("sandbox", `terminal ${shortId(terminal.id)} for ${node.name}`);
    this.#awaitOpening(terminal.id);
    if (!this.#send(terminal, "terminal.start", { cols, rows, runAsRoot }))
      return this.#fail(terminal, "Agent route was unavailable while starting the terminal.");
    return terminal;
  }

  input(terminal: TerminalRow, bytes: Uint8Array): void {
    checkLive(terminal);
    for (let at = 0; at < bytes.length; at += INPUT_CHUNK) {
      const part = bytes.subarray(at, at + INPUT_CHUNK);
      const payload = Buffer.from(part).toString("base64");
      if (this.#append(terminal, "input", payload, part.length) === null) return;
      if (this.#send(terminal, "terminal.input", { payload })) continue;
      this.#fail(terminal, "Agent route was unavailable while sending terminal input.");
      return;
    }
  }

  /** Sends the size to the agent of an open session; before, it is only stored.  */
  resize(terminal: TerminalRow, size: Size): TerminalRow {
    checkSize(size);
    checkLive(terminal);
    const resized = this.#change(terminal, size);
    if (terminal.status !== "open" || this.#send(terminal, "terminal.resize", size)) return resized;
    return this.#fail(resized, "Agent route was unavailable while resizing the terminal.");
  }

  stop(terminal: TerminalRow, reason: string | null): TerminalRow {
    checkLive(terminal);
    if (terminal.status === "terminating") return terminal;
    const stopping = this.#change(terminal, { status: "terminating", closedReason: reason });
    this.#send(stopping, "terminal.stop", { reason });
    this.#awaitExit(stopping.id);
    return stopping;
  }

  /** Calls the listener for all further events. A listener is a viewer: the grace begins when the last one leaves. */
  watch(id: string, listener: TerminalListener): Disposable {
    const active = this.#activeOf(id);
    active.listeners.add(listener);
    this.#cancel(id, "detach");
    return {
      [Symbol.dispose]: () => {
        if (!active.listeners.delete(listener) || active.listeners.size > 0 || this.#closed) return;
        const terminal = this.#ports.store.terminals.get(id);
        if (terminal === undefined || isOver(terminal)) {
          this.#active.delete(id);
          return;
        }
        this.#after(id, "detach", this.#ports.timings.terminalDetachGrace, (terminal) => {
          if (!isOver(terminal)) this.stop(terminal, "controller-detached-timeout");
        });
      },
    };
  }

  /** Called before the node is deleted. */
  abandon(nodeId: string): void {
    for (const terminal of this.#ports.store.terminals.all("nodeId = ?", nodeId)) {
      if (!isOver(terminal)) this.#fail(terminal, "The node was deleted.");
      this.#active.delete(terminal.id);
    }
  }

  /** After this the store is not used: it is about to be closed. */
  close(): void {
    this.#closed = true;
    for (const { timers } of this.#active.values()) for (const timer of timers.values()) clearTimeout(timer);
    this.#active.clear();
  }

  // The agent's side.

  /** A session that is being stopped is open again after this, as in the original. */
  opened(terminal: TerminalRow, size: Partial<Size>): TerminalRow {
    if (isOver(terminal)) return terminal;
    this.#cancel(terminal.id, "open");
    return this.#change(terminal, {
      ...size,
      status: "open",
      closedReason: null,
      openedAt: terminal.openedAt ?? isoNow(),
    });
  }

  /** Returns the sequence number, or null when the session has ended or its transcript is full. */
  output(
    terminal: TerminalRow,
    direction: "output" | "system",
    payload: string,
    bytes: number,
  ): number | null {
    return isOver(terminal) ? null : this.#append(terminal, direction, payload, bytes);
  }

  exited(
    terminal: TerminalRow,
    { exitCode, reason }: { exitCode: number | null; reason: string | null },
  ): TerminalRow {
    if (isOver(terminal)) return terminal;
    return this.#end(terminal, "closed", { exitCode, closedReason: reason ?? terminal.closedReason });
  }

  failed(terminal: TerminalRow, message: string): TerminalRow {
    return isOver(terminal) ? terminal : this.#fail(terminal, message);
  }

  // Internal.

  #append(
    { id }: TerminalRow,
    direction: ChunkRow["direction"],
    payload: string,
    bytes: number,
  ): number | null {
    const active = this.#activeOf(id);
    if (!active.full && active.bytes + bytes > this.#ports.timings.transcriptLimit) {
      active.full = true;
      const terminal = this.#ports.store.terminals.get(id);
      if (terminal && !isOver(terminal)) this.stop(terminal, FULL);
    }
    if (active.full) return null;
    const chunk: ChunkRow = {
      sessionId: id,
      seq: active.lastSeq + 1,
      direction,
      payload,
      total: active.bytes + bytes,
      createdAt: isoNow(),
    };
    this.#ports.store.chunks.insert(chunk);
    active.lastSeq = chunk.seq;
    active.bytes = chunk.total;
    this.#tell(active, { kind: "chunk", chunk });
    return chunk.seq;
  }

  #change(terminal: TerminalRow, change: Partial<TerminalRow>): TerminalRow {
    this.#ports.store.terminals.update(terminal.id, change);
    const changed = { ...terminal, ...change };
    this.#tell(this.#active.get(terminal.id), { kind: "state", terminal: changed });
    return changed;
  }

  #end(terminal: TerminalRow, status: "closed" | "failed", change: Partial<TerminalRow>): TerminalRow {
    for (const name of ["open", "stop", "detach"] as const) this.#cancel(terminal.id, name);
    const ended = this.#change(terminal, { ...change, status, closedAt: isoNow() });
    if (this.#active.get(terminal.id)?.listeners.size === 0) this.#active.delete(terminal.id);
    return ended;
  }

  #fail(terminal: TerminalRow, closedReason: string): TerminalRow {
    this.#ports.log.info("sandbox", `terminal ${shortId(terminal.id)} failed: ${closedReason}`);
    return this.#end(terminal, "failed", { closedReason });
  }

  #send({ nodeId, id }: TerminalRow, event: string, body: object): boolean {
    return this.#ports.send(nodeId, event, { type: event, sessionId: id, ...body });
  }

  #tell(active: ActiveSession | undefined, news: TerminalNews): void {
    for (const listener of active?.listeners ?? []) listener(news);
  }

  #awaitOpening(id: string): void {
    this.#after(id, "open", this.#ports.timings.terminalOpenLimit, (terminal) => {
      if (terminal.status === "pending") this.#fail(terminal, TERMINAL_NOT_OPENED);
    });
  }

  #awaitExit(id: string): void {
    this.#after(id, "stop", this.#ports.timings.terminalStopLimit, (terminal) => {
      if (terminal.status === "terminating") this.#end(terminal, "closed", {});
    });
  }

  #after(
    id: string,
    name: "open" | "stop" | "detach",
    pause: Duration,
    act: (terminal: TerminalRow) => void,
  ): void {
    this.#cancel(id, name);
    const timer = setTimeout(() => {
      const terminal = this.#ports.store.terminals.get(id);
      if (terminal) act(terminal);
    }, pause);
    this.#activeOf(id).timers.set(name, timer);
  }

  #cancel(id: string, name: "open" | "stop" | "detach"): void {
    const timers = this.#active.get(id)?.timers;
    clearTimeout(timers?.get(name));
    timers?.delete(name);
  }

  #activeOf(id: string): ActiveSession {
    const known = this.#active.get(id);
    if (known) return known;
    const { chunks, terminals } = this.#ports.store;
    const last = chunks.find("sessionId = ? ORDER BY seq DESC", id);
    const active: ActiveSession = {
      listeners: new Set(),
      lastSeq: last?.seq ?? 0,
      bytes: last?.total ?? 0,
      full: terminals.get(id)?.closedReason === FULL,
      timers: new Map(),
    };
    this.#active.set(id, active);
    return active;
  }
}

function checkLive({ id, status }: TerminalRow): void {
  if (status === "closed" || status === "failed")
    throw conflict(`Terminal session ${id} is already ${status}.`);
}

function checkSize({ cols, rows }: Size): void {
  check("cols", cols, TERMINAL_COLS);
  check("rows", rows, TERMINAL_ROWS);
}

function check(name: string, value: number, { min, max }: { min: number; max: number }): void {
  if (!Number.isInteger(value) || value < min || value > max)
    throw badRequest(`${name} must be a whole number from ${min} to ${max}`);
}
