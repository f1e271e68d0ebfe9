// The interface of a task kind: what its payload must be, what it needs, and what it does. One file a kind.
//
// Everything else derives from it: journal, log rows, completion, `task logs`, the capabilities sent with a claim, recovery
// after a crash, cancelling, time limits and the owner's refusals.
import * as v from "valibot";
import type { Duration } from "../../lib/duration.ts";
import type { Settings } from "../../config/options.ts";
import type { Runner } from "../../platform/account.ts";
import type { RootSurface } from "../../protocol/noderax/root-access.ts";

/** Settings by which the owner of the machine refuses whole kinds. */
export type OwnerSetting = "allow_tasks" | "allow_packages" | "allow_log_scan";

/** Facts about this node for the decision of a kind. */
export interface KindContext {
  readonly settings: Pick<Settings, "task_timeout" | "state_file" | "update_allow" | "update_channel_url">;
  /** Runs programs as the user of tasks without root. */
  readonly runner: Runner;
  /** The systemd service that would start the agent again after a restart. */
  readonly ownService: string | undefined;
  /** Why a reboot would do nothing here; undefined when it works. */
  readonly rebootRefusal: string | undefined;
}

interface Needs {
  /** The surface that must allow root, with which it then runs; undefined: without root. Asked again right before the start. */
  readonly root?: RootSurface;
  /** At most one task of this name runs at a time. */
  readonly exclusive?: string;
}

/** Runs a program in a run directory. It outlives the agent, and is followed to its end by the next one. */
export interface RunCommand extends Needs {
  readonly do: "run";
  /** The program and its arguments; no shell reads them. */
  readonly argv: readonly string[];
  /** Undefined: the home directory. */
  readonly workingDirectory?: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly timeout: Duration;
  /** Time between SIGTERM and SIGKILL instead of task_kill_grace. */
  readonly killGrace?: Duration;
  /** A stop sends SIGTERM to the program alone, which ends what it has started, and SIGKILL to nothing. */
  readonly stopsItself?: true;
  /** Descriptor 4 of the program is the file `report`, which `finish` receives. It is not part of the log. */
  readonly report?: true;
}

/**
 * Runs in the agent itself: for what only reads. After a restart of the agent it is run again when it is repeatable, else
 * reported as failed.
 */
export interface InnerWork extends Needs {
  readonly do: "work";
  /** The account that must be allowed to read what it reads; undefined: that of the agent. */
  readonly reader?: string | undefined;
  readonly timeout: Duration;
  readonly repeatable: boolean;
  /** `signal` aborts when the task is cancelled, out of time, or the agent stops. Throws: the task failed, with its message. */
  readonly run: (work: WorkPorts) => Promise<Finished>;
}

export interface WorkPorts {
  readonly signal: AbortSignal;
  /** Adds a line to the log of the task. */
  readonly log: (line: string) => void;
}

/** Completes the task as successful first, then runs this: it ends the agent or the machine. */
export interface FollowingAct {
  readonly do: "act";
  readonly root?: RootSurface;
  readonly command: readonly string[];
  readonly text: string;
}

export type Prepared =
  | RunCommand
  | InnerWork
  | FollowingAct
  /** Completes the task as failed, with this text. */
  | { readonly do: "refuse"; readonly text: string };

/** The end of a command. */
export interface RunEnd {
  readonly status: "success" | "failed" | "cancelled" | "timeout";
  readonly exitCode: number | null;
  /** Why it did not succeed, in words. */
  readonly text: string | null;
  /** The last MiB of each stream. */
  readonly stdout: string;
  readonly stderr: string;
  /** What was written to descriptor 4: up to 8 MiB of it. Undefined without `report`. */
  readonly report: string | undefined;
}

/** What a kind adds to the completion. */
export interface Finished {
  /** Exit code, duration and error are added to it. */
  readonly result?: Readonly<Record<string, unknown>>;
  /** Instead of a summary of the log. */
  readonly output?: string;
  /** Makes a success a failure; replaces the text of a failure. */
  readonly error?: string;
}

export interface TaskKind {
  readonly type: string;
  /** False: the owner refuses all tasks of this kind. Undefined: `prepare` asks a setting of another form. */
  readonly allowedBy: OwnerSetting | undefined;
  /** Decides what a task does. Changes nothing: `task explain` asks, too. */
  prepare(payload: unknown, context: KindContext): Prepared;
  /** Returns what the end of its command means; undefined when the exit code says it all. */
  readonly finish: ((end: RunEnd, payload: unknown) => Finished) | undefined;
}

/** Returns the kind of this type; undefined when there is none. */
export const taskKindOf = (kinds: readonly TaskKind[], type: string): TaskKind | undefined =>
  kinds.find((candidate) => candidate.type === type);

/** Returns the kind with its payload parsed; `prepare` and `finish` of a definition see valid payloads only. Both are pure. */
export function defineKind<P>(definition: {
  readonly type: string;
  readonly allowedBy: OwnerSetting | undefined;
  readonly payload: v.GenericSchema<unknown, P>;
  readonly prepare: (payload: P, context: KindContext) => Prepared;
  readonly finish?: (end: RunEnd, payload: P) => Finished;
}): TaskKind {
  const { type, allowedBy, payload: schema, finish } = definition;
  return {
    type,
    allowedBy,
    prepare(payload, context) {
      const parsed = v.safeParse(schema, payload);
      if (parsed.success) return definition.prepare(parsed.output, context);
      const problems = parsed.issues.map(
        (issue) => `${v.getDotPath(issue) ?? "payload"} ${problemOf(issue)}`,
      );
      return { do: "refuse", text: `invalid payload of ${type}: ${problems.join("; ")}` };
    },
    finish:
      finish &&
      ((end, payload) => {
        const parsed = v.safeParse(schema, payload);
        return parsed.success ? finish(end, parsed.output) : {};
      }),
  };
}

/** A missing key is the object's issue; every other one is worded by the schema. */
const problemOf = (issue: v.BaseIssue<unknown>): string =>
  issue.type === "object" ? "is missing" : issue.message;
