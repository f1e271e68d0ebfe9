// Reports the progress of an installation with a bootstrap token to the control plane. Using the token sets
// it to 92 %; "completed" is reported once a heartbeat of the agent was accepted.
//
//   enroll   token used ──▶ file written ──▶ "agent_enrolled", 95 %: the agent is not started yet
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

/** The token is used up and only serves to report on this installation. */
const InstallDocument = v.object({ api_url: v.string(), token: v.string() });
export type OpenInstall = v.InferOutput<typeof InstallDocument>;

const installPath = (stateFile: string): string => join(dirname(stateFile), "open_install.json");

/**
 * Undefined without a file, and for one that cannot be parsed: only the last report of an installation
 * depends on it.
 */
export function readInstall(stateFile: string): OpenInstall | undefined {
  try {
    const parsed = v.safeParse(InstallDocument, JSON.parse(readFileSync(installPath(stateFile), "utf8")));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

/** Stores the access to an install record beside the state file. */
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

/** Reports the enrollment once, without retry: the agent reports more when it runs. Never rejects. */
export async function reportEnrolled(api: PublicApi, token: string, signal: AbortSignal): Promise<void> {
  const statusMessage = "Enrolled. Waiting for the agent to be started: noderax-agent run";
  const body = { token, stage: "agent_enrolled", progressPercent: 95, statusMessage } as const;
  await api.installProgress(body, signal).catch(() => {});
}

/**
 * Reports an open installation as completed once `beat`, a heartbeat, is accepted. Resolves when nothing is
 * left to report, or `signal` aborts. Never rejects.
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
