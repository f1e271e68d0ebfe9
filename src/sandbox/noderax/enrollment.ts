// Two-step enrollment: a machine asks, a person approves, the machine fetches its credentials as often as it likes.
//
//   pending → approved
//           → revoked   (expired, superseded by a newer request of the same e-mail and hostname, or by an operator)
import type { Log } from "../../platform/log.ts";
import { ApiError, conflict, notFound } from "../http/api-error.ts";
import type { EnrollmentRow, NodeRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import type { Timings } from "../timings.ts";
import { urlSafeToken } from "../token.ts";
import { insertNode } from "./nodes.ts";
import { type ApiRoute, publicRoute } from "./route.ts";
import { anyObject, email, optional, textField } from "./validation.ts";

export interface Approval {
  /** The enrollment's token or its id. */
  readonly token: string;
  /** Must be the e-mail the machine gave; left out, it is taken from the enrollment. */
  readonly email?: string | undefined;
  readonly name?: string | undefined;
}

export function enrollmentRoutes(store: Store, timings: Timings, log: Log): ApiRoute[] {
  return [
    publicRoute(
      {
        name: "initiate",
        path: "/enrollments/initiate",
        status: 201,
        body: {
          email: email(),
          hostname: textField({ min: 2, trim: true, lowerCase: true }),
          additionalInfo: optional(anyObject()),
        },
      },
      ({ body }) => {
        log.info("sandbox", `${body.hostname} asks to be enrolled`, { email: body.email });
        return initiate(store, timings, body);
      },
    ),
    publicRoute({ name: "enrollment", method: "GET", path: "/enrollments/:token", body: {} }, ({ params }) =>
      show(store, params["token"] ?? ""),
    ),
  ];
}

function initiate(
  store: Store,
  timings: Timings,
  body: { email: string; hostname: string; additionalInfo: Record<string, unknown> | undefined },
): { token: string; expiresAt: string } {
  const enrollment: EnrollmentRow = {
    id: crypto.randomUUID(),
    token: urlSafeToken(),
    email: body.email,
    hostname: body.hostname,
    additionalInfo: body.additionalInfo ?? null,
    status: "pending",
    nodeId: null,
    expiresAt: isoNow(timings.enrollmentLife),
    createdAt: isoNow(),
  };
  const earlier = store.enrollments.all(
    "status = 'pending' AND email = ? AND hostname = ?",
    body.email,
    body.hostname,
  );
  store.enrollments.insert(enrollment);
  for (const { id } of earlier) store.enrollments.update(id, { status: "revoked" });
  return { token: enrollment.token, expiresAt: enrollment.expiresAt };
}

function show(store: Store, token: string): Record<string, string> {
  const found = store.enrollments.find("token = ?", token);
  if (!found) throw notFound("Enrollment token was not found");
  const { status, nodeId } = expire(store, found);
  if (status !== "approved") return { status };
  const node = nodeId === null ? undefined : store.nodes.get(nodeId);
  if (!node?.agentToken) return { status: "revoked" };
  return { status, nodeId: node.id, agentToken: node.agentToken };
}

/** Enrollments are not swept: an expired one is revoked when it is read. */
export function expire(store: Store, enrollment: EnrollmentRow): EnrollmentRow {
  if (enrollment.status !== "pending" || enrollment.expiresAt > isoNow()) return enrollment;
  store.enrollments.update(enrollment.id, { status: "revoked" });
  return { ...enrollment, status: "revoked" };
}

/** Approves an enrollment. 404 unknown or another e-mail, 409 approved before or hostname taken, 410 expired or revoked. */
export function approve(store: Store, { token, email, name }: Approval): NodeRow {
  const found = store.enrollments.find("token = ? OR id = ?", token, token);
  if (!found || (email !== undefined && email.trim().toLowerCase() !== found.email)) {
    throw notFound("Enrollment was not found for this token and e-mail");
  }
  const enrollment = expire(store, found);
  if (enrollment.status === "approved") throw conflict("Enrollment has already been approved");
  if (enrollment.status === "revoked") throw new ApiError(410, "Enrollment has expired or was revoked");
  const info = enrollment.additionalInfo ?? {};
  const node = insertNode(store, {
    name: name ?? enrollment.hostname,
    hostname: enrollment.hostname,
    os: textOf(info["os"] ?? info["operatingSystem"] ?? info["platform"]),
    arch: textOf(info["arch"] ?? info["architecture"]),
    agentVersion: textOf(info["agentVersion"]),
    platformVersion: textOf(info["platformVersion"]),
    kernelVersion: textOf(info["kernelVersion"]),
  });
  store.enrollments.update(enrollment.id, { status: "approved", nodeId: node.id });
  return node;
}

export function revoke(store: Store, token: string): EnrollmentRow {
  const enrollment = store.enrollments.find("token = ? OR id = ?", token, token);
  if (!enrollment) throw notFound("Enrollment was not found");
  if (enrollment.status === "approved") throw conflict("Enrollment has already been approved");
  store.enrollments.update(enrollment.id, { status: "revoked" });
  return { ...enrollment, status: "revoked" };
}

const textOf = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
