// Keeps the agent's memory level.
//
// JavaScriptCore collects when its own heap has grown by some 30 MB, which takes an agent half an hour of light work, and
// counts only a part of what lies outside of that heap. So the agent asks for more:
//
//   under work   a collection when anonymous memory has grown, at most once a minute: what is freed is used again.
//                Measured: 35 → 28 MB in 20 ms after 200 tasks
//   at rest      once after work, all is given back to the system: the database's cache, compiled code and the pages of
//                the executable, too. A quarter of those is code that only the start needs; what is needed is mapped
//                again from the page cache.
//                Measured: 55 → 48 MB after a start; 82 → 53 MB after 50 projects came up
//   light work   without a rest: the same as at rest, every five minutes
import { readFileSync } from "node:fs";
import { type Duration, seconds } from "../lib/duration.ts";
import { openLibc } from "./libc.ts";

export interface Usage {
  /** Bytes. */
  readonly resident: number;
  /** The part of it that no file backs. */
  readonly anonymous: number;
  /** Processor time of this process so far. */
  readonly busy: Duration;
}

/** How often to check. */
export const RECLAIM_PERIOD: Duration = seconds(10);

/** Of one core. An agent at rest needs less than 0.5 %, a task a second 3 %. */
const WORK_SHARE = 0.02;
/** Of one core. More work than this would miss the compiled code that giving back discards. */
const HEAVY_SHARE = 0.1;
/** Checks from one collection to the next, of 20 ms each: 0.03 % of the time. */
const COLLECT_AFTER = 6;
/** Checks from one giving back to the next under light work: what is compiled again takes 0.1 s, 0.03 % of the time. */
const GIVE_BACK_AFTER = 30;

/** Bytes. Less is not worth a collection. */
const GROWTH = 4_000_000;

export interface ReclaimPorts {
  readonly usage: () => Usage;
  readonly collect: () => void;
  /** Frees caches outside of the JavaScript heap; called before `giveBack`. */
  readonly releaseCaches: () => void;
  readonly giveBack: () => Promise<void> | void;
  /** Time between two checks. */
  readonly period: Duration;
}

/** Returns the check, to be called once a period. */
export function createReclaim({
  usage = ownUsage,
  collect = collectGarbage,
  releaseCaches = () => {},
  giveBack = giveAllBack,
  period = RECLAIM_PERIOD,
}: Partial<ReclaimPorts> = {}): () => Promise<void> {
  let before: Usage | undefined;
  // The start counts as work.
  let worked = true;
  let settled = 0;
  /** Checks since the last giving back. */
  let givenBack = Infinity;
  /** Since the last collection: the checks, and the least anonymous memory seen, as freed pages go within seconds. */
  let collected = { checks: 0, least: Infinity };

  return async () => {
    const now = usage();
    if (before === undefined) {
      before = now;
      return;
    }
    const share = (now.busy - before.busy) / period;
    before = now;
    worked ||= share >= WORK_SHARE;
    givenBack++;
    collected = { checks: collected.checks + 1, least: Math.min(collected.least, now.anonymous) };
    // Code that is needed after all is mapped again while the agent rests: this is no growth.
    if (!worked) settled = now.resident;
    const mayGiveBack = share < WORK_SHARE || (share < HEAVY_SHARE && givenBack >= GIVE_BACK_AFTER);
    if (worked && mayGiveBack && now.resident - settled >= GROWTH) {
      releaseCaches();
      await giveBack();
      // Giving back is no work.
      before = usage();
      settled = before.resident;
      // Under light work, more follows: the agent gives back once more when it rests.
      worked = share >= WORK_SHARE;
      givenBack = 0;
      collected = { checks: 0, least: Infinity };
    } else if (collected.checks >= COLLECT_AFTER && now.anonymous - collected.least >= GROWTH) {
      collect();
      collected = { checks: 0, least: Infinity };
    }
  };
}

const collectGarbage = (): void => Bun.gc(true);

async function giveAllBack(): Promise<void> {
  Bun.shrink();
  await unmapCode();
}

export interface Mapping {
  readonly start: bigint;
  readonly size: bigint;
}

/** The executable's own code among the lines of /proc/PID/maps: read-only, so that nothing of it is lost. */
export const codeMappings = (maps: string, executable: string): readonly Mapping[] =>
  maps.split("\n").flatMap((line) => {
    const [range = "", mode, , , , ...path] = line.split(/ +/);
    const [start, end] = range.split("-").map((text) => BigInt(`0x${text || 0}`));
    if (mode !== "r-xp" || path.join(" ") !== executable || start === undefined || end === undefined)
      return [];
    return [{ start, size: end - start }];
  });

const MADV_DONTNEED = 4;

const openMadvise = () => openLibc({ madvise: { args: ["u64", "u64", "i32"], returns: "i32" } });
/** Opened once: each opening compiles code of its own, which stays. */
let opened: ReturnType<typeof openMadvise> | undefined;

async function unmapCode(): Promise<void> {
  const libc = await (opened ??= openMadvise());
  if (libc === undefined) return;
  for (const { start, size } of codeMappings(readFileSync("/proc/self/maps", "utf8"), process.execPath))
    libc.madvise(start, size, MADV_DONTNEED);
}

function ownUsage(): Usage {
  const { user, system } = process.cpuUsage();
  return { resident: process.memoryUsage.rss(), anonymous: ownAnonymous(), busy: (user + system) / 1_000 };
}

function ownAnonymous(): number {
  const [, kilobytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? [];
  return Number(kilobytes ?? 0) * 1_024;
}
