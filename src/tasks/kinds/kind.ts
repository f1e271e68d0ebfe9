// The interface of a task kind, which turns a payload into a command or explains a rejection. One file a kind.
import type { Duration } from "../../lib/duration.ts";
import type { RootProfile, RootSurface } from "../../protocol/noderax/root-access.ts";

/** Facts about this node for the decision of a kind. */
export interface KindContext {
  /** The root-access profile in force here, after the owner's veto. */
  readonly rootProfile: RootProfile;
  /** Why this machine gives no root for a surface; undefined when it does. */
  readonly rootRefusal: (surface: RootSurface) => string | undefined;
  readonly defaultTimeout: Duration;
  /** The systemd service that would start the agent again after a restart. */
  readonly ownService: string | undefined;
  /** Why a reboot would do nothing here; undefined when it works. */
  readonly rebootRefusal: string | undefined;
}

/** Run a command. */
export interface RunCommand {
  readonly do: "run";
  readonly asRoot: boolean;
  readonly shell: string;
  readonly command: string;
  readonly workingDirectory: string | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly timeout: Duration;
}

export type Prepared =
  | RunCommand
  /** Complete the task as successful first, then do this: it ends the agent or the machine. */
  | { readonly do: "afterwards"; readonly command: readonly string[]; readonly text: string }
  /** Complete the task as failed, with this text. */
  | { readonly do: "reject"; readonly text: string };

export interface TaskKind {
  readonly type: string;
  prepare(payload: Readonly<Record<string, unknown>>, context: KindContext): Prepared;
}
