// The logs that a control plane may ask for, and what stands in for them where the first is absent.
import { SERVICE_LOG } from "../../platform/log-file.ts";
import { AGENT_UNIT } from "../../platform/systemd.ts";

export interface LogPreset {
  /** Lines of a preview that names no number. */
  readonly backfill: number;
  /** In the order of preference: the first that exists is read. */
  readonly sources: readonly LogSource[];
}

export type LogSource =
  | { readonly type: "file"; readonly path: string }
  | {
      readonly type: "journal";
      /** Arguments of journalctl. */
      readonly matches: readonly string[];
      /** Completes "the journal of …". */
      readonly of: string;
    };

const file = (path: string): LogSource => ({ type: "file", path });
const journal = (of: string, ...matches: readonly string[]): LogSource => ({ type: "journal", matches, of });

/** Debian's names; Fedora and its relatives write other files, and many systems keep the journal alone. */
export const LOG_PRESETS: ReadonlyMap<string, LogPreset> = new Map([
  [
    "syslog",
    {
      backfill: 200,
      sources: [file("/var/log/syslog"), file("/var/log/messages"), journal("this machine")],
    },
  ],
  [
    "auth.log",
    {
      backfill: 200,
      sources: [
        file("/var/log/auth.log"),
        file("/var/log/secure"),
        journal("logins", "SYSLOG_FACILITY=4", "+", "SYSLOG_FACILITY=10"),
      ],
    },
  ],
  [
    "kern.log",
    { backfill: 200, sources: [file("/var/log/kern.log"), journal("the kernel", "_TRANSPORT=kernel")] },
  ],
  [
    "noderax-agent",
    {
      backfill: 200,
      sources: [journal(AGENT_UNIT, `--unit=${AGENT_UNIT}`), file(SERVICE_LOG)],
    },
  ],
]);
