// Scans one of the logs that a control plane may ask for: a preview of its end, or on from where the last scan stopped.
import * as v from "valibot";
import { AgentError } from "../../lib/agent-error.ts";
import { minutes } from "../../lib/duration.ts";
import { quote } from "../../lib/text.ts";
import { type Runner, SYSTEM_PATH } from "../../platform/account.ts";
import { attachingSystemd, pipedUnit } from "../../platform/attached-unit.ts";
import { entryOfLine, type ScanEntry } from "./entry.ts";
import { type FileScan, isOfInode, scanEnd, scanSince } from "./file-scan.ts";
import { openLogFiles } from "./files.ts";
import { type AsReader, type JournalScan, journalctl, scanJournalEnd, scanJournalSince } from "./journal.ts";
import type { LineLimits } from "./lines.ts";
import { LOG_PRESETS, type LogSource } from "./presets.ts";

/** From an earlier scan of ours, or of a Go agent; one that is neither counts as none. */
export const ScanCursor = v.object({
  journalCursor: v.optional(v.string()),
  fileInode: v.optional(v.union([v.string(), v.pipe(v.number(), v.transform(String))])),
  fileOffset: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
});
export type ScanCursor = v.InferOutput<typeof ScanCursor>;

export interface ScanRequest {
  readonly preset: string;
  readonly mode: "preview" | "monitor";
  readonly limits: LineLimits;
  /** Lines of a preview; undefined: the preset's number. */
  readonly backfill: number | undefined;
  readonly cursor: ScanCursor | undefined;
}

/** The result as the control plane expects it. */
export interface ScanResult {
  readonly sourcePresetId: string;
  /** What was really read. */
  readonly sourceType: "file" | "journal";
  readonly entries: readonly ScanEntry[];
  readonly cursor: ScanCursor & { readonly lastReadAt: string; readonly cursorResetReason?: string };
  readonly truncated: boolean;
  readonly bytesRead: number;
  readonly linesRead: number;
  readonly warnings: readonly string[];
}

export interface ScanPorts {
  /** Without root, a root agent reads on behalf of this user; undefined: as itself. */
  readonly reader: Runner | undefined;
  readonly now: () => Date;
  /** Where the logs are; "/" but in tests. */
  readonly root: string;
  readonly journalctl: () => string | undefined;
}

/** The ports of this machine. `reader`: the user on whose behalf a root agent reads; undefined: as itself. */
export const machineLogs = (reader: Runner | undefined): ScanPorts => ({
  reader,
  now: () => new Date(),
  root: "/",
  journalctl,
});

/** Throws "scan.absent" where the machine has no such log, "scan.unreadable" and "scan.journal" where it cannot be read. */
export async function scanLog(
  request: ScanRequest,
  ports: ScanPorts,
  signal: AbortSignal,
): Promise<ScanResult> {
  const preset = LOG_PRESETS.get(request.preset);
  if (preset === undefined) throw unknownPreset(request.preset);
  const backfill = Math.min(request.backfill ?? preset.backfill, request.limits.lines);
  for (const source of preset.sources) {
    const found = await scanSource(source, { ...request, backfill }, ports, signal);
    if (found === undefined) continue;
    const substitute =
      source === preset.sources[0] ? [] : [`${request.preset} is absent: ${nameOf(source)} was read`];
    const { entries, warnings, ...rest } = found;
    return {
      sourcePresetId: request.preset,
      sourceType: source.type,
      entries,
      ...rest,
      linesRead: entries.length,
      warnings: [...substitute, ...warnings],
    };
  }
  const tried = preset.sources.map(nameOf).join(", ");
  throw new AgentError("scan.absent", `this machine has no ${request.preset}: there is none of ${tried}`);
}

type Scanned = Omit<ScanResult, "sourcePresetId" | "sourceType" | "linesRead">;
type SourceRequest = ScanRequest & { readonly backfill: number };

/** Undefined where the source is absent. */
function scanSource(
  source: LogSource,
  request: SourceRequest,
  ports: ScanPorts,
  signal: AbortSignal,
): Promise<Scanned | undefined> | Scanned | undefined {
  return source.type === "file"
    ? scanFile(source.path, request, ports)
    : scanJournal(source.matches, request, ports, signal);
}

function scanFile(
  path: string,
  { mode, cursor, limits, backfill }: SourceRequest,
  { reader, now, root }: ScanPorts,
): Scanned | undefined {
  const { fileInode, fileOffset } = cursor ?? {};
  const since =
    mode === "monitor" && fileInode !== undefined && fileOffset !== undefined
      ? { fileInode, fileOffset }
      : undefined;
  const wasRead = since && ((identity: string) => isOfInode(identity, since));
  using files = openLogFiles(root === "/" ? path : root + path, reader?.account, wasRead);
  if (files === undefined) return undefined;
  const scan: FileScan =
    since !== undefined ? scanSince(files, since, limits) : scanEnd(files, { ...limits, lines: backfill });
  const at = now();
  return {
    entries: scan.lines.map((line) => entryOfLine(line, at)),
    cursor: {
      ...scan.cursor,
      lastReadAt: at.toISOString(),
      ...(scan.reset === undefined ? {} : { cursorResetReason: scan.reset }),
    },
    truncated: scan.truncated,
    bytesRead: scan.bytesRead,
    warnings: scan.warnings,
  };
}

async function scanJournal(
  matches: readonly string[],
  { mode, cursor, limits, backfill }: SourceRequest,
  { reader, now, journalctl: find }: ScanPorts,
  signal: AbortSignal,
): Promise<Scanned | undefined> {
  const program = find();
  if (program === undefined) return undefined;
  const asReader: AsReader = (argv) => (reader === undefined ? argv : commandOf(reader, argv));
  const since = mode === "monitor" ? cursor?.journalCursor : undefined;
  const scan: JournalScan =
    since === undefined
      ? await scanJournalEnd(program, matches, { ...limits, lines: backfill }, asReader, signal)
      : await scanJournalSince(program, matches, since, limits, asReader, signal);
  const { cursor: behind, entries, truncated, bytesRead, warnings } = scan;
  return {
    entries,
    cursor: {
      ...(behind === undefined ? {} : { journalCursor: behind }),
      lastReadAt: now().toISOString(),
    },
    truncated,
    bytesRead,
    warnings,
  };
}

/** The scan itself is ended before (kinds/log-scan.ts). */
const JOURNAL_LIMIT = minutes(1);

/** Becomes the reader in a unit of its own where that is possible: our own unit forbids to change the user. */
function commandOf(reader: Runner, argv: readonly string[]): string[] {
  const command = reader.shell(`exec ${argv.map(quote).join(" ")}`);
  const systemd = attachingSystemd();
  if (systemd === undefined) return command;
  const environment = { PATH: SYSTEM_PATH, LANG: "C.UTF-8" };
  return pipedUnit(systemd, { slice: "noderax-tasks.slice", environment, limit: JOURNAL_LIMIT }, command);
}

const nameOf = (source: LogSource): string =>
  source.type === "file" ? source.path : `the journal of ${source.of}`;

/** Returns the error for a preset that does not exist; it names those that do. */
export const unknownPreset = (preset: string): AgentError =>
  new AgentError(
    "scan.preset",
    `there is no log preset "${preset}"; there are ${[...LOG_PRESETS.keys()].join(", ")}`,
  );
