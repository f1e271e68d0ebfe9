// Reads the journal of systemd with journalctl: its last entries, or on from a cursor.
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { seconds } from "../../lib/duration.ts";
import { KIB } from "../../lib/size.ts";
import { within } from "../../lib/until.ts";
import { SYSTEM_PATH } from "../../platform/account.ts";
import { type ScanEntry, entryOfJournal } from "./entry.ts";
import type { LineLimits } from "./lines.ts";

export interface JournalScan {
  /** The oldest first. */
  readonly entries: readonly ScanEntry[];
  /** Position behind the last entry; undefined while there was none. */
  readonly cursor: string | undefined;
  /** Whether a limit left entries out. */
  readonly truncated: boolean;
  readonly bytesRead: number;
  readonly warnings: readonly string[];
}

/** Turns the arguments of journalctl into the command line that runs it as the user for whom a root agent reads. */
export type AsReader = (argv: readonly string[]) => readonly string[];

/** The fields that are used: all others make it several times slower. Cursor and time come always. */
const FIELDS = "--output-fields=MESSAGE,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER";
/** A line of journalctl: names, quotes, cursor and what JSON escapes. */
const OVERHEAD = 2 * KIB;
const STDERR_MAX = 4 * KIB;
/** Wait for the end of the messages: a journalctl in a unit that we left ends with the next line that it writes. */
const DRAIN = seconds(1);

/** The path of journalctl; undefined without systemd. */
export const journalctl = (): string | undefined =>
  Bun.which("journalctl", { PATH: SYSTEM_PATH }) ?? undefined;

/**
 * The last entries that match. Read newest first, so that a limit of bytes leaves out the oldest. `matches` are arguments
 * of journalctl. Throws "scan.journal" where it fails.
 */
export async function scanJournalEnd(
  program: string,
  matches: readonly string[],
  limits: LineLimits,
  asReader: AsReader,
  signal: AbortSignal,
): Promise<JournalScan> {
  const argv = [program, ...OUTPUT, "--reverse", `--lines=${limits.lines}`, ...matches];
  const { found, ...rest } = await collect(asReader(argv), limits, signal);
  return { ...rest, entries: found.map(({ entry }) => entry).toReversed(), cursor: found[0]?.cursor };
}

/** What was written since the cursor, the oldest first. Throws "scan.journal" where journalctl fails. */
export async function scanJournalSince(
  program: string,
  matches: readonly string[],
  cursor: string,
  limits: LineLimits,
  asReader: AsReader,
  signal: AbortSignal,
): Promise<JournalScan> {
  const one = { lines: 1, bytes: limits.bytes };
  const at = await collect(
    asReader([program, ...OUTPUT, `--cursor=${cursor}`, "--lines=1", ...matches]),
    one,
    signal,
  );
  // Where the entry of the cursor is removed, journalctl goes to the nearest one in time and does not say so.
  const isGone = at.found[0]?.cursor !== cursor;
  const argv = [program, ...OUTPUT, `--after-cursor=${cursor}`, ...matches];
  const { found, warnings, ...rest } = await collect(asReader(argv), limits, signal);
  return {
    ...rest,
    entries: found.map(({ entry }) => entry),
    cursor: found.at(-1)?.cursor ?? cursor,
    warnings: isGone ? [...warnings, GONE] : warnings,
  };
}

const OUTPUT = ["--output=json", "--no-pager", FIELDS];
const GONE = "the journal no longer holds the entry that was read last: entries may be missing before these";

interface Collected {
  readonly found: readonly { readonly entry: ScanEntry; readonly cursor: string | undefined }[];
  readonly truncated: boolean;
  readonly bytesRead: number;
  readonly warnings: readonly string[];
}

/** Runs journalctl until a limit is reached. */
async function collect(
  command: readonly string[],
  limits: LineLimits,
  signal: AbortSignal,
): Promise<Collected> {
  const child = Bun.spawn([...command], {
    cwd: "/",
    env: { PATH: SYSTEM_PATH, LANG: "C.UTF-8" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    signal,
  });
  const said = textOf(child.stderr, STDERR_MAX);
  const found: Collected["found"][number][] = [];
  let [bytesRead, bytes, truncated] = [0, 0, false];
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of child.stdout) {
    bytesRead += chunk.length;
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > limits.bytes + OVERHEAD) truncated = true;
    for (const line of lines) {
      const next = entryOfJournal(line);
      if (next === undefined) continue;
      const size = Buffer.byteLength(next.entry.message);
      truncated ||= found.length === limits.lines || (bytes + size > limits.bytes && found.length > 0);
      if (truncated) break;
      bytes += size;
      found.push(size > limits.bytes ? shortened(next, limits.bytes) : next);
    }
    if (truncated) break;
  }
  if (truncated) child.kill("SIGKILL");
  const code = await child.exited;
  const problem = (await within(said, DRAIN))?.trim() ?? "";
  if (signal.aborted) throw new AgentError("aborted", "the scan was interrupted");
  if (code !== 0 && !truncated && found.length === 0)
    throw new AgentError("scan.journal", `journalctl failed: ${problem || `exit code ${code}`}`);
  return { found, truncated, bytesRead, warnings: problem === "" ? [] : [problem] };
}

const shortened = <T extends { readonly entry: ScanEntry }>(next: T, bytes: number): T => ({
  ...next,
  entry: { ...next.entry, message: Buffer.from(next.entry.message).subarray(0, bytes).toString() },
});

async function textOf(stream: ReadableStream<Uint8Array>, max: number): Promise<string> {
  let text = "";
  try {
    const decoder = new TextDecoder();
    for await (const chunk of stream) if (text.length < max) text += decoder.decode(chunk, { stream: true });
  } catch (error) {
    return messageOf(error);
  }
  return text.slice(0, max);
}
