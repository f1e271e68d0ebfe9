// The install record of the control plane, for a machine that was enrolled with a bootstrap token: it is told how far the
// installation has come. Consuming the token leaves it at 92 %; "completed" is true once the agent is heard of.
//
//   enroll   token consumed ──▶ file written ──▶ "agent_enrolled", 95 %: the agent waits for being started
//   run      heartbeat accepted ──▶ "service_started", completed ──▶ file removed
import { readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { messageOf } from "../lib/agent-error.ts";
import { backoff } from "../lib/backoff.ts";
import { sleep } from "../lib/loop.ts";
import type { PublicApi } from "../control/noderax-api.ts";
import { mayPass, pauseAfter, retry } from "../control/retry.ts";
import { writeFileAtomic } from "../platform/atomic-file.ts";
import type { Log } from "../platform/log.ts";

/** The token is used up: all it is still good for is to report on this installation. */
const InstallDocument = v.object({ api_url: v.string(), token: v.string() });
export type OpenInstall = v.InferOutput<typeof InstallDocument>;

const installPath = (stateFile: string): string => join(dirname(stateFile), "open_install.json");

/** Undefined when there is none, or the file cannot be understood: nothing but a record's last words depends on it. */
export function readInstall(stateFile: string): OpenInstall | undefined {
  try {
    const parsed = v.safeParse(InstallDocument, JSON.parse(readFileSync(installPath(stateFile), "utf8")));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

export function writeInstall(stateFile: string, install: OpenInstall): void {
  writeFileAtomic(installPath(stateFile), `${JSON.stringify(install)}\n`);
}

/** One try at telling the record how far an installation is; `failed` ends it. Never rejects. */
export async function reportStage(
  api: PublicApi,
  token: string,
  { stage, percent, message }: { readonly stage: string; readonly percent: number; readonly message: string },
  signal: AbortSignal,
): Promise<void> {
  const status = stage === "failed" ? ({ status: "failed" } as const) : {};
  const body = { token, stage, ...status, progressPercent: percent, statusMessage: message.slice(0, 500) };
  await api.installProgress(body, signal).catch(() => {});
}

/** One try: when the agent runs, it says more than this. Never rejects. */
export async function reportEnrolled(api: PublicApi, token: string, signal: AbortSignal): Promise<void> {
  const statusMessage = "Enrolled. Waiting for the agent to be started: noderax-agent run";
  const body = { token, stage: "agent_enrolled", progressPercent: 95, statusMessage } as const;
  await api.installProgress(body, signal).catch(() => {});
}

/**
 * Ends an open installation at this control plane once `beat`, a heartbeat, is accepted. Resolves when there is nothing
 * more to report, or `signal` aborts. Never rejects.
 */
export async function reportRunning(
  ports: {
    readonly stateFile: string;
    readonly apiUrl: string;
    readonly api: PublicApi;
    readonly beat: (signal: AbortSignal) => Promise<void>;
    readonly log: Log;
  },
  signal: AbortSignal,
): Promise<void> {
  const { stateFile, api, log } = ports;
  const open = readInstall(stateFile);
  if (open?.api_url !== ports.apiUrl) return;
  const statusMessage = "The agent runs.";
  const body = { token: open.token, stage: "service_started", status: "completed", statusMessage } as const;
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      await ports.beat(signal);
      await api.installProgress({ ...body, progressPercent: 100 }, signal);
      return rmSync(installPath(stateFile), { force: true });
    } catch (error) {
      if (signal.aborted) return;
      if (!mayPass(error)) {
        log.warn("enrollment", `the install record was not completed: ${messageOf(error)}`);
        return rmSync(installPath(stateFile), { force: true });
      }
      await sleep(pauseAfter(error, backoff(retry.enrollment, failures, Math.random)), signal);
    }
  }
}
