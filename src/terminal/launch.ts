// Starts the shell of a terminal on a pty.
import { AgentError, messageOf } from "../lib/agent-error.ts";
import type { Runner } from "../platform/account.ts";
import type { FlowControl } from "./pty/flow-control.ts";
import type { View } from "../platform/isolation.ts";
import { type Pty, type PtyMode, spawnPty } from "./pty/pty.ts";
import { AGENT_UNIT, type Scope, usableScope } from "../platform/systemd.ts";
import { terminalCommand } from "./supervisor.ts";
import { shellCandidates, shellEnvironment, shellScript, shellStarts } from "./shell.ts";

export interface ShellLaunchOrder {
  readonly sessionId: string;
  readonly runner: Runner;
  readonly asRoot: boolean;
  readonly size: () => { cols: number; rows: number };
  readonly language: string | undefined;
  readonly flow: FlowControl | undefined;
  /** Whether the shell sees the processes and terminals of others. */
  readonly view: View;
  /** Its soft limit of open files; undefined: that of the agent. */
  readonly openFiles: number | undefined;
  /** For tests; default: all of them. */
  readonly modes?: readonly PtyMode[] | undefined;
  readonly onData: (bytes: Uint8Array) => void;
}

export interface Launched {
  readonly pty: Pty;
  readonly shell: string;
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
  for (const shell of shellCandidates(account, asRoot)) {
    const starts = await shellStarts(shell, runner);
    if (unwanted()) return undefined;
    if (!starts) {
      failures.push(`${shell} does not start`);
      continue;
    }
    const scope = await usableScope(scopeOf(sessionId));
    if (unwanted()) return undefined;
    try {
      const command = terminalCommand(order.view, order.openFiles, runner.shell(shellScript(shell)));
      const pty = await spawnPty(
        {
          command: [...scope, ...command],
          environment: shellEnvironment(sessionId, account, shell, language),
          ...order.size(),
          owner: process.getuid?.() === 0 && account.uid !== 0 ? account.uid : undefined,
          flow: order.flow,
          onData: order.onData,
        },
        order.modes,
      );
      return { pty, shell };
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  const tried = failures.length === 0 ? "there is none" : failures.join("; ");
  throw new AgentError("terminal.shell", `No shell could be started as ${account.name}: ${tried}`);
}

/** A scope outside of the agent's control group, so that its process limit and its journal entries exclude terminals. */
const scopeOf = (sessionId: string): Scope => ({
  name: `noderax-terminal-${sessionId}.scope`,
  slice: "noderax-terminals.slice",
  description: `noderax terminal ${sessionId}`,
  outlives: AGENT_UNIT,
});
