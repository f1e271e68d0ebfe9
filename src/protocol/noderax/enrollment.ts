// Enrollment: how a machine gets its node id and token. All routes are public; the opaque token is the credential.
//
// POST /enrollments/initiate  → 201; earlier pending enrollments of the same e-mail and hostname are revoked
// GET  /enrollments/{token}   → 200; 404 for an unknown token. "revoked" also means expired or superseded
// POST /node-installs/consume → 201, once; 404 unknown, 409 used or hostname taken, 410 expired.
//                               Its additionalInfo is strict: os arch agentVersion platformVersion kernelVersion
// POST /node-installs/progress → 201; 404 unknown token, 410 expired
// POST /agent/heartbeat       → 200; sets the node online. 401 wrong token, 404 node deleted. Send all three
//                               versions or none: a missing one is overwritten with null. Never an empty string
import * as v from "valibot";
import type { Location } from "./location.ts";

export interface InitiateEnrollment {
  email: string;
  hostname: string;
  /** The only place that takes further keys. */
  additionalInfo?: HostInfo & { location?: Location };
}

export const EnrollmentStarted = v.object({
  token: v.pipe(v.string(), v.minLength(1)),
  expiresAt: v.string(),
});
export type EnrollmentStarted = v.InferOutput<typeof EnrollmentStarted>;

export const Credentials = v.object({
  nodeId: v.pipe(v.string(), v.minLength(1)),
  agentToken: v.pipe(v.string(), v.minLength(1)),
});
export type Credentials = v.InferOutput<typeof Credentials>;

export const EnrollmentState = v.variant("status", [
  v.object({ status: v.literal("pending") }),
  v.object({ status: v.literal("approved"), ...Credentials.entries }),
  v.object({ status: v.literal("revoked") }),
]);
export type EnrollmentState = v.InferOutput<typeof EnrollmentState>;

/** What a machine says of itself; the values of `arch` are "amd64" and "arm64". */
export interface HostInfo {
  os: string;
  arch: string;
  agentVersion: string;
  platformVersion: string;
  kernelVersion: string;
}

export interface ConsumeInstall {
  token: string;
  hostname: string;
  additionalInfo?: Partial<HostInfo>;
}

/** A progress report to an install record. A completed or failed record keeps its status and still answers 201. */
export interface InstallProgress {
  token: string;
  /** 2 to 64 characters. */
  stage: string;
  status?: "completed" | "failed";
  /** A whole number, 0 to 100. */
  progressPercent: number;
  statusMessage: string;
}

export const InstallRecord = v.object({ status: v.string(), stage: v.string() });

export interface Heartbeat {
  nodeId: string;
  agentToken: string;
  agentVersion: string;
  platformVersion: string;
  kernelVersion: string;
  sentAt?: string;
}

export const HeartbeatAck = v.object({ acknowledged: v.literal(true), nodeId: v.string() });
