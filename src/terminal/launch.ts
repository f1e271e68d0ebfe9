// Starts the shell of a terminal on a pty.
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { shortId } from "../lib/text.ts";
import { type Runner, SYSTEM_PATH } from "../platform/account.ts";
import { attachedUnit, attachingSystemd, tryInUnit } from "../platform/attached-unit.ts";
import type { View } from "../platform/isolation.ts";
import type { Log } from "../platform/log.ts";
import { AGENT_UNIT, type Scope, usableScope } from "../platform/systemd.ts";
import { type TrialRunner, tryHere } from "../platform/trial.ts";
import type { FlowControl } from "./pty/flow-control.ts";
import { type Pty, type PtyMode, type PtyOrder, spawnPty } from "./pty/pty.ts";
import { shellCandidates, shellEnvironment, shellScript, shellStarts, terminalUnit } from "./shell.ts";
import { type TerminalShell, supervisedShell, terminalCommand } from "./supervisor.ts";

export interface ShellLaunchOrder {
  readonly sessionId: string;
  readonly runner: Runner;
  readonly asRoot: boolean;
  readonly size: () => { cols: number; rows: number };
  readonly language: string | undefined;
  readonly flow: FlowControl | undefined;
  /** Whether the shell sees the processes and terminals of others. */
  readonly view: View;
  /** Its soft limit of open files outside of a unit; undefined: that of the agent. */
  readonly openFiles: number | undefined;
  /** For tests; default: all of them. */
  readonly modes?: readonly PtyMode[] | undefined;
  readonly onData: (bytes: Uint8Array) => void;
  readonly log: Log;
}

export interface Launched {
  readonly pty: Pty;
  readonly shell: string;
  /** Whether the pty's own process is only the client of the shell's unit: the shell survives a kill of it. */
  readonly isAttached: boolean;
}

/**
 * Resolves with the first shell that starts, in the first mode that works; with undefined when `unwanted` became true
 * meanwhile. Throws "terminal.shell" with all that was tried.
 */
export async function launchShell(
  order: ShellLaunchOrder,
  unwanted: () => boolean,
): Promise<Launched | undefined> {
  const { sessionId, runner, asRoot, language } = order;
  const { account } = runner;
  const failures: string[] = [];
  let place = await choosePlace(sessionId);
  for (const shell of shellCandidates(account, asRoot)) {
    let starts: boolean;
    try {
      starts = await shellStarts(shell, runner, place.tryOut);
    } catch (error) {
      const event = `${shortId(sessionId)} gets no unit of its own: ${messageOf(error)}`;
      order.log.warn("terminal", event, { session_id: sessionId });
      place = besideUs([]);
      starts = await shellStarts(shell, runner, place.tryOut);
    }
    if (unwanted()) return undefined;
    if (!starts) {
      failures.push(`${shell} does not start`);
      continue;
    }
    try {
      const { view, openFiles } = order;
      const pty = await spawnPty(
        {
          ...place.command(
            { view, openFiles, shell: runner.shell(shellScript(shell)) },
            shellEnvironment(sessionId, account, shell, language),
          ),
          ...order.size(),
          owner: process.getuid?.() === 0 && account.uid !== 0 ? account.uid : undefined,
          flow: order.flow,
          onData: order.onData,
        },
        order.modes,
      );
      return { pty, shell, isAttached: place.isAttached };
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  const tried = failures.length === 0 ? "there is none" : failures.join("; ");
  throw new AgentError("terminal.shell", `No shell could be started as ${account.name}: ${tried}`);
}

/** Where the processes of a terminal run. */
interface Place {
  readonly isAttached: boolean;
  /** Rejects when the place cannot be used after all. */
  readonly tryOut: TrialRunner;
  readonly command: (
    order: TerminalShell,
    environment: Readonly<Record<string, string>>,
  ) => Pick<PtyOrder, "command" | "environment">;
}

/**
 * A transient service, which inherits neither our sandbox nor our limits; a scope where systemd is too old for that; our
 * own control group where it is missing or does not answer: a person who repairs it needs a terminal.
 */
async function choosePlace(sessionId: string): Promise<Place> {
  const systemd = attachingSystemd();
  if (systemd === undefined) return besideUs(await usableScope(scopeOf(sessionId)));
  return {
    isAttached: true,
    tryOut: tryInUnit(systemd, SLICE),
    command: (order, environment) => ({
      command: attachedUnit(systemd, {
        name: terminalUnit(sessionId),
        slice: SLICE,
        description: `noderax terminal ${sessionId}`,
        outlives: AGENT_UNIT,
        syslogIdentifier: "noderax-terminal",
        environment,
        // The unit has systemd's limit of open files.
        command: supervisedShell({ ...order, openFiles: undefined }),
      }),
      environment: { PATH: SYSTEM_PATH },
    }),
  };
}

const besideUs = (scope: readonly string[]): Place => ({
  isAttached: false,
  tryOut: tryHere,
  command: (order, environment) => ({ command: [...scope, ...terminalCommand(order)], environment }),
});

const SLICE = "noderax-terminals.slice";

/** A scope outside of the agent's control group, so that its process limit and its journal entries exclude terminals. */
const scopeOf = (sessionId: string): Scope => ({
  name: `noderax-terminal-${sessionId}.scope`,
  slice: SLICE,
  description: `noderax terminal ${sessionId}`,
  outlives: AGENT_UNIT,
});
