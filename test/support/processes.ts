// The processes of a test: whether they live, what they use, and how those an agent left are ended.
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { identify, parseProcessStat } from "../../src/platform/processes.ts";
import { namesIn, scribble } from "./scribble.ts";

/** True while the process lives and is no zombie. */
export function isAlive(pid: number | string): boolean {
  try {
    return parseProcessStat(readFileSync(`/proc/${pid}/stat`, "latin1"))?.state !== "Z";
  } catch {
    return false;
  }
}

/** Kills what an agent that is gone has left running: the sessions of its wrappers, and nothing else. */
export function endCommands(runs: string): void {
  const read = (path: string): string => scribble(path).text() ?? "";
  const pids = namesIn("/proc").filter((name) => /^\d+$/.test(name));
  const sessions = new Set<number>();
  for (const run of namesIn(runs)) {
    const [, stat] = /^(.+)\n(?:.*\n)?\d+ \d+ (?:\S* )?ok\n$/.exec(read(join(runs, run, "session"))) ?? [];
    const session = Number.parseInt(stat ?? "", 10);
    const leader = identify(session);
    // Unless another process has this pid by now: then nobody of that session is left.
    if (stat !== undefined && (!leader || leader.startTime === parseProcessStat(stat)?.startTime))
      sessions.add(session);
  }
  // A wrapper that has not reported yet has its directory among its arguments.
  for (const pid of pids) {
    const own = parseProcessStat(read(`/proc/${pid}/stat`))?.session;
    if (own === Number(pid) && read(`/proc/${pid}/cmdline`).includes(`${runs}/`)) sessions.add(own);
  }
  for (const pid of pids) {
    if (!sessions.has(parseProcessStat(read(`/proc/${pid}/stat`))?.session ?? -1)) continue;
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // Ended by itself.
    }
  }
}

/** The processes with exactly these arguments. A pid that a shell prints may be one of its own namespace. */
export const processesOf = (...command: readonly string[]): number[] =>
  namesIn("/proc")
    .filter((name) => /^\d+$/.test(name) && isAlive(name))
    .filter((pid) => scribble(`/proc/${pid}/cmdline`).text() === `${command.join("\0")}\0`)
    .map(Number);

/** The processes that have this text among their arguments, in their environment, or in the name of their directory. */
export const processesNaming = (text: string): number[] =>
  namesIn("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && isAlive(name))
    .filter((pid) => tracesOf(pid).some((trace) => trace.includes(text)))
    .map(Number);

function tracesOf(pid: string): string[] {
  const read = (name: string): string => scribble(`/proc/${pid}/${name}`).text() ?? "";
  let directory = "";
  try {
    directory = `${readlinkSync(`/proc/${pid}/cwd`)}/`;
  } catch {
    // It ended meanwhile.
  }
  return [read("cmdline"), read("environ"), directory];
}

/** Of a process: how many descriptors it has open. */
export const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** The most memory a process ever had, in MB. */
export function peakMemoryOf(pid: number): number {
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) / 1_024;
}
