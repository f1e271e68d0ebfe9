// The watcher: looks at the machine, asks `nextAct` for the act, records and does it, until the update is over.
import { isoOf, epochOf, steadyNow, wallNow } from "../../lib/clock.ts";
import { messageOf } from "../../lib/agent-error.ts";
import { milliseconds, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import type { Log } from "../../platform/log.ts";
import { UNIT } from "../places.ts";
import { type ServiceState, describeService, runProgram, serviceState } from "../service.ts";
import {
  FileHashes,
  type UpdatePaths,
  candidatePath,
  restoreProgram,
  switchProgram,
  whichOf,
} from "./files.ts";
import { type Act, type Seen, type Which, beginWatch, nextAct, observeUpdate } from "./next.ts";
import { createProgressReport } from "./progress.ts";
import { compareVersions } from "./release.ts";
import { type Attempt, type UpdateRecord, readUpdateRecord, recordEnd, writeUpdateRecord } from "./state.ts";

/** Often enough to see each restart of a service that ends at once: systemd waits 2 s between them. */
const LOOK_EVERY = milliseconds(500);

export interface WatcherPorts {
  readonly stateDirectory: string;
  readonly paths: UpdatePaths;
  /** Asks the agent on its control socket; undefined when it does not answer. */
  readonly ask: () => Promise<Seen["answer"]>;
  readonly log: Log;
}

/** Resolves when the update is over and its roll-out was told, or with `signal`: the next watcher goes on. */
export async function watchUpdate(ports: WatcherPorts, signal: AbortSignal): Promise<void> {
  const { stateDirectory, paths, log } = ports;
  const hashes = new FileHashes();
  const { attempt: first } = readUpdateRecord(stateDirectory);
  if (first === undefined || first.phase === "over") return;
  const problem = (text: string): void => log.warn("update", text);
  const report = createProgressReport(first.target, problem, signal);
  let watch = beginWatch(steadyNow(), serviceState("systemd")?.restarts ?? 0, false);
  for (; !signal.aborted; await sleep(LOOK_EVERY, signal)) {
    const record = readUpdateRecord(stateDirectory);
    const { attempt } = record;
    if (attempt === undefined || attempt.phase === "over") return;
    const seen = await look(attempt);
    const now = steadyNow();
    watch = observeUpdate(watch, seen, attempt.to, now);
    const act = nextAct(attempt.phase, seen, watch, now);
    try {
      if (await perform(act, record, attempt)) return;
    } catch (error) {
      // A full disk, or systemd that does not answer: looked at again, since the machine may have changed meanwhile.
      log.error("update", `${act.do} failed: ${messageOf(error)}`);
      await sleep(seconds(1), signal);
    }
  }

  async function look(attempt: Attempt): Promise<Seen> {
    const state = serviceState("systemd");
    const [program, candidate, kept] = await Promise.all([
      hashes.of(paths.program),
      hashes.of(candidatePath(paths)),
      hashes.of(paths.previous),
    ]);
    return {
      program: whichOf(program, attempt),
      candidate: whichOf(candidate, attempt) === "new",
      kept: whichOf(kept, attempt) === "old",
      service: {
        active: state?.active ?? "inactive",
        runs: await whichRuns(state, attempt),
        restarts: state?.restarts ?? 0,
        end: state === undefined ? "the service is not installed" : describeService(state),
      },
      answer: await ports.ask(),
    };
  }

  /** What the service's process runs, by the file it was started from, which may have lost its name since. */
  async function whichRuns(state: ServiceState | undefined, attempt: Attempt): Promise<Which> {
    if (state?.pid === undefined) return "none";
    try {
      return whichOf(await hashes.of(`/proc/${state.pid}/exe`), attempt);
    } catch {
      return "none";
    }
  }

  /** Returns whether the update is over. */
  async function perform(act: Act, record: UpdateRecord, attempt: Attempt): Promise<boolean> {
    if (act.do === "finish") {
      await finish(act, record, attempt);
      return true;
    }
    if (act.do === "wait" && act.note !== attempt.note) save(record, { ...attempt, note: act.note });
    if (act.do === "record") enter(act, record, attempt);
    if (act.do === "switch") {
      report.tell("installing", `Version ${attempt.to} takes the place of ${attempt.from}.`);
      switchProgram(paths);
    }
    if (act.do === "restore") restoreProgram(paths);
    if (act.do === "restart") {
      if (!act.hard) report.tell("restarting", "The service is restarted; tasks and containers go on.");
      restartService(act.hard);
      watch = beginWatch(steadyNow(), serviceState("systemd")?.restarts ?? 0, true);
    }
    return false;
  }

  function enter({ phase, reason }: ActOf<"record">, record: UpdateRecord, attempt: Attempt): void {
    log.info("update", `${attempt.from} to ${attempt.to}: ${phase}`, { reason });
    save(record, { ...attempt, phase, note: "", ...(reason !== undefined && { reason }) });
    if (phase === "rolling back") watch = beginWatch(steadyNow(), watch.restarts, false);
    if (phase === "watching") report.tell("waiting_for_reconnect", "The new version was started.");
  }

  async function finish(act: ActOf<"finish">, record: UpdateRecord, attempt: Attempt): Promise<void> {
    const { outcome } = act;
    const reason = [attempt.reason, act.reason].filter(Boolean).join("; ");
    const at = { iso: isoOf(wallNow()), epoch: epochOf(wallNow()) };
    const isNewer = (a: string, b: string): boolean => compareVersions(a, b) > 0;
    writeUpdateRecord(stateDirectory, recordEnd(record, { outcome, reason }, at, isNewer));
    const isGood = outcome === "confirmed" || outcome === "unproven";
    const text = `${attempt.from} to ${attempt.to}: ${outcome}${reason === "" ? "" : ` (${reason})`}`;
    if (isGood) return log.info("update", text);
    log.error("update", text);
    await report.failed(failureText(attempt, outcome, reason));
  }

  function save(record: UpdateRecord, attempt: Attempt): void {
    writeUpdateRecord(stateDirectory, { ...record, attempt: { ...attempt, changedAt: isoOf(wallNow()) } });
  }
}

type ActOf<Kind extends Act["do"]> = Extract<Act, { readonly do: Kind }>;

/** For an operator at the roll-out screen. */
const failureText = ({ from, to }: Attempt, outcome: string, reason: string): string =>
  outcome === "rolled back"
    ? `Version ${to} was rolled back to ${from}: ${reason}. The node works with ${from}.`
    : `Version ${to} was not installed: ${reason}.`;

function restartService(hard: boolean): void {
  // What hangs would take its stop timeout to end. Tasks, terminals and containers are in units of their own.
  if (hard) runProgram(["systemctl", "kill", "--signal=KILL", UNIT]);
  if (hard) runProgram(["systemctl", "reset-failed", UNIT]);
  runProgram(["systemctl", "restart", "--no-block", UNIT]);
}
