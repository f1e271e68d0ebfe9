// The calls of the Noderax API that the agent makes, each with its deadline and its manner of retry.
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";
import * as enrollment from "../protocol/noderax/enrollment.ts";
import { CLAIM_WAIT_MAX } from "../protocol/noderax/limits.ts";
import { type MetricsRequest, StoredSample } from "../protocol/noderax/realtime.ts";
import * as tasks from "../protocol/noderax/tasks.ts";
import type { Http } from "./http.ts";

/** Who we are on the task routes. */
export interface NodeIdentity {
  readonly nodeId: string;
  readonly agentToken: string;
}

/** Hashing the token takes the server about a quarter of a second, more under load. */
const ENROLLMENT_TIMEOUT = seconds(20);
/** How much longer than the server we wait for a claim: a shorter wait would abandon it, and a task with it. */
const CLAIM_MARGIN = seconds(12);

/**
 * Calls without a bearer token: enrollment, and what carries the identity in its body. `enrollmentTimeout` bounds the
 * calls of an enrollment, which hash passwords on the server and take longer.
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

/** The task routes. `timeout` bounds every call but the claim, which waits for the server. */
export function taskApi(http: Http, identity: NodeIdentity, timeout: Duration) {
  const headers = { authorization: `Bearer ${identity.agentToken}`, "x-agent-node-id": identity.nodeId };
  const route = (taskId: string, verb: string): string =>
    `/api/v1/agent/tasks/${encodeURIComponent(taskId)}/${verb}`;
  const post = { method: "POST", headers, timeout } as const;
  return {
    serverClock: http.serverClock,
    /** Waits up to `wait` on the server and a margin longer here. Exactly one may be in flight. */
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
    /** The gate; idempotent, and answers the row as the server has it. */
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

/** The installer's and the Go agent's users may give the URL with the API prefix; we add it ourselves. */
export const withoutApiPrefix = (url: string): string =>
  url.replace(/\/+$/, "").replace(/(?:\/api)?\/v1$/, "");
