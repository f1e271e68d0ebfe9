// An update up to the switch: choose, make room, download, verify, probe. The watcher does the rest.

import { existsSync, rmSync } from "node:fs";
import { AgentError, exit, messageOf } from "../../lib/agent-error.ts";
import { epochOf, isoOf, wallNow } from "../../lib/clock.ts";
import { takeLock } from "../../platform/lock.ts";
import { join } from "node:path";
import {
  FileHashes,
  type UpdatePaths,
  candidatePath,
  keepPrevious,
  previousAsCandidate,
  requireSpace,
} from "./files.ts";
import { type VerifiedRelease, fetchBuild, fetchRelease } from "./fetch-release.ts";
import { type Place, type DownloadProgress, fetchCatalog } from "./place.ts";
import { type Choice, type UpdateFacts, type Wanted, chooseVersion } from "./policy.ts";
import type { ProgressReport } from "./progress.ts";
import { type Source, compareVersions, sourcesOf, spaceNeeded } from "./release.ts";
import {
  type Attempt,
  type UpdateRecord,
  type UpdateTarget,
  readUpdateRecord,
  writeUpdateRecord,
} from "./state.ts";

export interface UpdatePorts {
  readonly place: Place;
  readonly roots: readonly string[];
  /** The name of this machine's build in a manifest. */
  readonly builds: string;
  /** The version that runs here. */
  readonly version: string;
  readonly paths: UpdatePaths;
  readonly stateDirectory: string;
  /** Tries the new executable; resolves with what it has noted. Throws "update.probe". */
  readonly probe: (candidate: string, version: string) => Promise<readonly string[]>;
  /** Starts the watcher, which then acts. */
  readonly handOver: () => void;
  readonly report: ProgressReport;
  readonly note: (text: string) => void;
  readonly progress: DownloadProgress;
}

type OwnerSettings = Pick<UpdateFacts, "allow" | "pin" | "window">;

/** What a place offers to this node. */
export interface Offer {
  readonly choice: Choice;
  /** Of the version that is offered or held back. */
  readonly release: VerifiedRelease | undefined;
  readonly sources: readonly Source[];
}

/** Asks the place what there is, and verifies it. Changes nothing on this machine. Throws "update.*", "net.*", "tls.*". */
export async function findOffer(
  { place, roots, builds, version: current, paths, stateDirectory }: UpdatePorts,
  wanted: Wanted,
  settings: OwnerSettings,
  signal: AbortSignal,
): Promise<Offer> {
  const catalog = await fetchCatalog(place, signal);
  const { failed, highest } = readUpdateRecord(stateDirectory);
  const choice = chooseVersion(wanted, {
    ...settings,
    current,
    highest,
    failed,
    latest: catalog.latest,
    offered: catalog.versions.map(({ version }) => version),
    now: epochOf(wallNow()),
  });
  if (choice.do === "refuse" || choice.do === "nothing") return { choice, release: undefined, sources: [] };
  const release = await fetchRelease(place, choice.version, builds, roots, signal);
  const { minimumVersion } = release;
  if (minimumVersion !== undefined && compareVersions(current, minimumVersion) < 0) {
    const why = `version ${choice.version} can be installed over ${minimumVersion} and later, and ${current} runs here`;
    const hint = `noderax-agent update --version ${minimumVersion}`;
    return { choice: { do: "refuse", why, hint }, release: undefined, sources: [] };
  }
  const own = await new FileHashes().of(paths.program);
  return { choice, release, sources: sourcesOf(release.build, { sha256: own ?? "" }) };
}

/** Throws "update.busy" while another update is going on. */
export function requireIdle(stateDirectory: string, { previous }: UpdatePaths): void {
  const { attempt } = readUpdateRecord(stateDirectory);
  const isPending = attempt !== undefined && attempt.phase !== "over" && attempt.phase !== "preparing";
  // Without the executable of before there is no watcher, and nothing to go back to: an installation has removed it.
  if (isPending && existsSync(previous)) throw busy(attempt);
}

const busy = ({ to, phase }: Pick<Attempt, "to" | "phase">): AgentError =>
  new AgentError("update.busy", `an update to ${to} is going on (${phase})`, {
    hint: "Look at it:  noderax-agent status",
    exit: exit.refused,
  });

/** Where a new executable comes from. */
export type UpdateOrigin =
  | { readonly from: "place"; readonly release: VerifiedRelease; readonly sources: readonly Source[] }
  /** The executable of before, which lies beside the program. */
  | { readonly from: "previous"; readonly version: string; readonly sha256: string };

/**
 * Prepares an update and hands it to the watcher. Until then nothing is exchanged; a failure is recorded and thrown. Throws
 * "update.busy" when another one is going on.
 */
export async function prepareUpdate(
  origin: UpdateOrigin,
  target: UpdateTarget | undefined,
  ports: UpdatePorts,
  signal: AbortSignal,
): Promise<void> {
  const { paths, stateDirectory, version: from, report } = ports;
  const lock = takeLock(join(stateDirectory, "update.lock"));
  const to = origin.from === "place" ? origin.release.version : origin.version;
  const record = readUpdateRecord(stateDirectory);
  if (lock === undefined) throw busy(record.attempt ?? { to, phase: "preparing" });
  using _lock = lock;
  requireIdle(stateDirectory, paths);
  const oldSha256 = await new FileHashes().of(paths.program);
  if (oldSha256 === undefined)
    throw new AgentError("update.service", `there is no ${paths.program}`, {
      hint: "Install the agent:  noderax-agent install",
    });
  const at = isoOf(wallNow());
  let attempt: Attempt = {
    from,
    to,
    phase: "preparing",
    startedAt: at,
    changedAt: at,
    note: "",
    oldSha256,
    target,
  };
  const save = (change: Partial<Attempt>, rest: Partial<UpdateRecord> = {}): void => {
    attempt = { ...attempt, ...change, changedAt: isoOf(wallNow()) };
    writeUpdateRecord(stateDirectory, { ...readUpdateRecord(stateDirectory), ...rest, attempt });
  };
  try {
    save({ note: "downloading" });
    report.tell("downloading", `Version ${to} is downloaded.`);
    const newSha256 = await makeCandidate(origin, ports, signal);
    save({ note: "trying the new version" });
    report.tell("verifying", "The download is genuine; the new version is tried.");
    for (const text of await ports.probe(candidatePath(paths), to)) ports.note(text);
    if (signal.aborted) throw new AgentError("aborted", "interrupted", { exit: exit.interrupted });
    // Hand over: from the record on, the watcher acts, and a killed updater costs nothing.
    keepPrevious(paths);
    save({ phase: "ready", note: "", newSha256 }, { previous: { version: from, sha256: oldSha256 } });
    ports.handOver();
  } catch (error) {
    if (existsSync(candidatePath(paths))) rmSync(candidatePath(paths), { force: true });
    const reason = messageOf(error);
    try {
      save({ phase: "over", outcome: "failed", reason, note: "" });
    } catch {
      // A full disk: the first failure is the one to report.
    }
    await report.failed(`Version ${to} was not installed: ${reason}. The node works with ${from}.`);
    throw error;
  }
}

/** Returns the hash of the executable that now is the candidate. */
async function makeCandidate(origin: UpdateOrigin, ports: UpdatePorts, signal: AbortSignal): Promise<string> {
  const { paths, place, note, progress } = ports;
  if (origin.from === "previous") {
    const { previous } = paths;
    if ((await new FileHashes().of(previous)) !== origin.sha256)
      throw new AgentError(
        "update.version",
        `${previous} is not the version ${origin.version} that ran here`,
        {
          hint: `Get it again:  noderax-agent update --version ${origin.version} --allow-downgrade`,
        },
      );
    previousAsCandidate(paths);
    return origin.sha256;
  }
  const { release, sources } = origin;
  const [first] = sources;
  if (first !== undefined) requireSpace(paths, spaceNeeded(release.build, first));
  await fetchBuild(place, release, sources, paths, { progress, skipped: note }, signal);
  return release.build.sha256;
}
