// Calls the Noderax API. Each call has its timeout and says whether it may be sent twice.
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";
import * as enrollment from "../protocol/noderax/enrollment.ts";
import { CLAIM_WAIT_MAX } from "../protocol/noderax/limits.ts";
import { type MetricsRequest, StoredSample } from "../protocol/noderax/realtime.ts";
import * as tasks from "../protocol/noderax/tasks.ts";
import type { Http } from "./http.ts";

/** Credentials of the task routes. */
export interface NodeIdentity {
  readonly nodeId: string;
  readonly agentToken: string;
}

/** The server hashes the token, which takes a quarter of a second and more under load. */
const ENROLLMENT_TIMEOUT = seconds(20);
/** How much longer than the server we wait for a claim: an abandoned claim may lose a task. */
const CLAIM_MARGIN = seconds(12);

/**
 * Calls without a bearer token: enrollment, and calls with the identity in their body. `enrollmentTimeout`
 * applies to the calls of an enrollment, which take the server longer.
 */
export function publicApi(http: Http, timeout: Duration, enrollmentTimeout: Duration = ENROLLMENT_TIMEOUT) {
  return {
    initiate: (body: enrollment.InitiateEnrollment, signal: AbortSignal) =>
      http(
        {
          method: "POST",
          path: "/api/v1/enrollments/initiate",
          body,
          answer: enrollment.EnrollmentStarted,
          timeout: enrollmentTimeout,
          idempotent: true, // a second one supersedes the first, of which nobody has seen the token
        },
        signal,
      ),
    enrollmentState: (token: string, signal: AbortSignal) =>
      http(
        {
          method: "GET",
          path: `/api/v1/enrollments/${encodeURIComponent(token)}`,
          answer: enrollment.EnrollmentState,
          timeout: enrollmentTimeout,
          idempotent: true,
        },
        signal,
      ),
    consumeInstall: (body: enrollment.ConsumeInstall, signal: AbortSignal) =>
      http(
        {
          method: "POST",
          path: "/api/v1/node-installs/consume",
          body,
          answer: enrollment.Credentials,
          timeout: enrollmentTimeout,
          idempotent: false,
        },
        signal,
      ),
    installProgress: (body: enrollment.InstallProgress, signal: AbortSignal) =>
      http(
        {
          method: "POST",
          path: "/api/v1/node-installs/progress",
          body,
          answer: enrollment.InstallRecord,
          timeout,
          idempotent: true,
        },
        signal,
      ),
    heartbeat: (body: enrollment.Heartbeat, signal: AbortSignal) =>
      http(
        {
          method: "POST",
          path: "/api/v1/agent/heartbeat",
          body,
          answer: enrollment.HeartbeatAck,
          timeout,
          idempotent: true,
        },
        signal,
      ),
    serverClock: http.serverClock,
    /** Where there is no realtime session; throttled, so not more than about once a minute. */
    metrics: (body: MetricsRequest, signal: AbortSignal) =>
      http(
        {
          method: "POST",
          path: "/api/v1/agent/metrics",
          body,
          answer: StoredSample,
          timeout,
          idempotent: true, // a second row of the same minute hurts nobody
        },
        signal,
      ),
  };
}
export type PublicApi = ReturnType<typeof publicApi>;

/** The task routes. `timeout` applies to every call; a claim may take `wait` longer. */
export function taskApi(http: Http, identity: NodeIdentity, timeout: Duration) {
  const headers = { authorization: `Bearer ${identity.agentToken}`, "x-agent-node-id": identity.nodeId };
  const route = (taskId: string, verb: string): string =>
    `/api/v1/agent/tasks/${encodeURIComponent(taskId)}/${verb}`;
  const post = { method: "POST", headers, timeout } as const;
  return {
    serverClock: http.serverClock,
    /** Waits up to `wait` on the server, and longer here. Only one may be in flight. */
    claim: (wait: Duration, body: Omit<tasks.ClaimRequest, "maxTasks" | "waitMs">, signal: AbortSignal) => {
      const waitMs = Math.min(Math.max(0, Math.round(wait)), CLAIM_WAIT_MAX);
      const request: tasks.ClaimRequest = { maxTasks: 1, waitMs, ...body };
      return http(
        {
          ...post,
          path: "/api/v1/agent/tasks/claim",
          body: request,
          answer: tasks.ClaimAnswer,
          timeout: waitMs + Math.max(timeout, CLAIM_MARGIN),
          idempotent: false,
          fresh: true,
        },
        signal,
      );
    },
    /** Resolves with the task as the server has it. The command may run only after that. */
    started: (body: tasks.StartedRequest, signal: AbortSignal) =>
      http(
        {
          ...post,
          path: route(body.taskId, "started"),
          body,
          answer: tasks.taskOf(body.taskId),
          idempotent: true,
        },
        signal,
      ),
    log: (body: tasks.LogRequest, signal: AbortSignal) =>
      http(
        { ...post, path: route(body.taskId, "logs"), body, answer: tasks.StoredRow, idempotent: false },
        signal,
      ),
    completed: (body: tasks.CompletedRequest, signal: AbortSignal) =>
      http(
        {
          ...post,
          path: route(body.taskId, "completed"),
          body,
          answer: tasks.taskOf(body.taskId),
          idempotent: true,
        },
        signal,
      ),
    control: (taskId: string, signal: AbortSignal) =>
      http(
        {
          method: "GET",
          headers,
          timeout: Math.min(timeout, milliseconds(5_000)),
          path: route(taskId, "control"),
          answer: tasks.controlOf(taskId),
          idempotent: true,
        },
        signal,
      ),
  };
}
export type TaskApi = ReturnType<typeof taskApi>;

/** Tells a roll-out how far the update of this node is. Throws as `http`. */
export const sendUpdateProgress = (
  http: Http,
  { nodeId, agentToken }: NodeIdentity,
  targetId: string,
  body: tasks.UpdateProgress,
  signal: AbortSignal,
): Promise<unknown> =>
  http(
    {
      method: "POST",
      path: `/api/v1/agent-updates/targets/${encodeURIComponent(targetId)}/progress`,
      headers: { authorization: `Bearer ${agentToken}`, "x-agent-node-id": nodeId },
      body,
      answer: tasks.UpdateTargetAnswer,
      timeout: seconds(10),
      idempotent: true,
    },
    signal,
  );

/** Removes the API prefix, with which the installer and users of the Go agent may write the URL. */
export const withoutApiPrefix = (url: string): string =>
  url.replace(/\/+$/, "").replace(/(?:\/api)?\/v1$/, "");
