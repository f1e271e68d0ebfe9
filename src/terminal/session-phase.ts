// The phases of a terminal session, and which event leads from one to the next. Pure.
//
//   launching ──started──▶ opening ──accepted──▶ open
//       │                    ├──────exited──────────┴──▶ draining ──delivered──▶ reporting ──reported──▶ done
//       │                    │                              ▲ settled                ▲
//       └──────stopped───────┴──stopped, rejected──▶ ending ┘                        │
//       └───────────────────────────failed──────────────────────────────────────────┘
//
// opening    the shell runs, `terminal.opened` is not acknowledged yet
// ending     the agent ends the shell and its processes: hang-up, grace, SIGKILL
// draining   the shell has ended; the rest of its output is sent
// reporting  `terminal.exited` (or `terminal.error`, if no shell could be started) is sent

export type SessionPhase = "launching" | "opening" | "open" | "ending" | "draining" | "reporting" | "done";

export interface TerminalSessionState {
  readonly phase: SessionPhase;
  /** Why the agent ends the session; undefined as long as it does not, and after an end of the shell's own. */
  readonly reason: string | undefined;
  /** False when the control plane has closed or forgotten the session: its end is not reported. */
  readonly endExpected: boolean;
}

export type SessionEvent =
  /** `failed`: no shell could be started. `exited`: the shell ended by itself. `settled`: no process is left to end. */
  | { readonly type: "started" | "failed" | "accepted" | "exited" | "settled" | "delivered" | "reported" }
  | { readonly type: "stopped"; readonly reason: string }
  /** The control plane refused `terminal.opened` or a frame of output. */
  | { readonly type: "rejected"; readonly reason: string; readonly endExpected: boolean };

export const LAUNCHING: TerminalSessionState = { phase: "launching", reason: undefined, endExpected: true };

const NEXT: Readonly<Record<SessionPhase, Partial<Record<SessionEvent["type"], SessionPhase>>>> = {
  launching: { started: "opening", stopped: "ending", failed: "reporting" },
  opening: { accepted: "open", exited: "draining", stopped: "ending", rejected: "ending" },
  open: { exited: "draining", stopped: "ending", rejected: "ending" },
  ending: { settled: "draining", failed: "reporting" },
  draining: { delivered: "reporting" },
  reporting: { reported: "done" },
  done: {},
};

/** The state after `event`. An event that the phase does not know changes nothing: the first reason to end counts. */
export function next(state: TerminalSessionState, event: SessionEvent): TerminalSessionState {
  const phase = NEXT[state.phase][event.type] ?? state.phase;
  const ends = phase === "ending" && state.phase !== "ending" && "reason" in event;
  return {
    phase,
    reason: ends ? event.reason : state.reason,
    endExpected: event.type === "rejected" ? event.endExpected : state.endExpected,
  };
}
