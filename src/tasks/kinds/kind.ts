// A kind of task: how a payload becomes a command. Each kind is one file here; what it does not run, it explains.
import type { Duration } from "../../lib/duration.ts";
import type { RootProfile, RootSurface } from "../../protocol/noderax/root-access.ts";

/** What a kind may know about this node when it decides. */
export interface KindContext {
  /** The root-access profile in force here, after the owner's veto. */
  readonly rootProfile: RootProfile;
  /** Why root is not to be had for a surface, when it is for a reason of this machine. */
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
