// From a request for a terminal to a shell on a pty.
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
  /** What the shell sees of the processes and terminals of others. */
  readonly view: View;
  /** The soft limit of open files it gets; undefined: ours. */
  readonly openFiles: number | undefined;
  /** For tests; otherwise all of them. */
  readonly modes?: readonly PtyMode[] | undefined;
  readonly onData: (bytes: Uint8Array) => void;
}

export interface Launched {
  readonly pty: Pty;
  readonly shell: string;
}

/**
 * The first shell that starts, in the first mode that works. Undefined when `unwanted` turned true meanwhile; throws an
 * AgentError with what was tried.
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

/** Out of the agent's control group: its limit of processes and its name in the journal are not for terminals. */
const scopeOf = (sessionId: string): Scope => ({
  name: `noderax-terminal-${sessionId}.scope`,
  slice: "noderax-terminals.slice",
  description: `noderax terminal ${sessionId}`,
  outlives: AGENT_UNIT,
});
