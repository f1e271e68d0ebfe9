// Decides whether a terminal may be started, and with which text it is refused. Pure.
//
// The web pages hide texts that look like a temporary connection failure or an ended session: none of these may
// contain "timed out", "rate limit exceeded", "transport close", "websocket error", "no longer available", or
// "session … closed", "ended", "finished".
import type { RootAccess } from "../identity/root-access.ts";
import { allows } from "../protocol/noderax/root-access.ts";

export interface StartConditions {
  /** The owner's `allow_terminal`. */
  readonly allowed: boolean;
  readonly open: number;
  readonly limit: number;
  readonly asRoot: boolean;
  readonly rootAccess: Pick<RootAccess, "profile" | "refusal">;
  readonly stopping: boolean;
}

/** Returns the text of the refusal; undefined when the terminal may be started. */
export function refusalOf(conditions: StartConditions): string | undefined {
  const { allowed, open, limit, asRoot, rootAccess, stopping } = conditions;
  if (stopping) return "This node's agent is being stopped. Try again in a minute.";
  if (!allowed) return "The owner of this machine does not allow terminals (setting allow_terminal).";
  if (open >= limit)
    return `This node has ${open} open terminals, as many as its agent allows (setting max_terminals). Terminate one first.`;
  if (!asRoot) return undefined;
  const veto = rootAccess.refusal("terminal");
  if (veto !== undefined) return `No root terminal: ${veto}.`;
  const profile = rootAccess.profile();
  if (!allows(profile, "terminal"))
    return `No root terminal: the root access profile in force on this node is "${profile}", which leaves terminals out. Choose one with terminal access for the node first.`;
  return undefined;
}
