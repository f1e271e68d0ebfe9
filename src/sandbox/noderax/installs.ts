// One-click installs: an operator makes a bootstrap token, the installer reports progress, the agent consumes it.
//
//   pending → installing → completed | failed
//           → expired   (not consumed in time)
import { ApiError, conflict, notFound } from "../http/api-error.ts";
import type { InstallRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import type { Timings } from "../timings.ts";
import { urlSafeToken } from "../token.ts";
import { insertNode } from "./nodes.ts";
import { type ApiRoute, publicRoute } from "./route.ts";
import { WORKSPACE_ID } from "./tasks.ts";
import { type Values, nested, number, oneOfField, optional, textField } from "./validation.ts";

/** Percent at which the API itself sees the token consumed. */
const CONSUMED_PERCENT = 92;

const Consume = {
  token: textField({ min: 8, trim: true }),
  hostname: textField({ min: 2, max: 255, trim: true, lowerCase: true }),
  additionalInfo: optional(
    nested({
      os: optional(textField({ max: 255 })),
      arch: optional(textField({ max: 64 })),
      agentVersion: optional(textField({ max: 64 })),
      platformVersion: optional(textField({ max: 120 })),
      kernelVersion: optional(textField({ max: 120 })),
    }),
  ),
};
const Progress = {
  token: textField({ min: 8, trim: true }),
  stage: textField({ min: 2, max: 64 }),
  status: optional(oneOfField(["installing", "completed", "failed"])),
  progressPercent: optional(number({ integer: true, min: 0, max: 100 })),
  statusMessage: optional(textField({ max: 500 })),
};

export function installRoutes(store: Store): ApiRoute[] {
  return [
    publicRoute({ name: "consume", path: "/node-installs/consume", status: 201, body: Consume }, ({ body }) =>
      consume(store, body),
    ),
    publicRoute(
      { name: "progress", path: "/node-installs/progress", status: 201, body: Progress },
      ({ body }) => wireInstall(report(store, body)),
    ),
  ];
}

export function createInstall(store: Store, timings: Timings, nodeName: string): InstallRow {
  const now = isoNow();
  return store.installs.insert({
    installId: crypto.randomUUID(),
    token: urlSafeToken(),
    nodeName,
    description: null,
    hostname: null,
    nodeId: null,
    status: "pending",
    stage: "command_generated",
    progressPercent: 5,
    statusMessage: "Install command generated.",
    startedAt: null,
    consumedAt: null,
    expiresAt: isoNow(timings.installLife),
    createdAt: now,
    updatedAt: now,
  });
}

function find(store: Store, token: string): InstallRow {
  const install = store.installs.find("token = ?", token);
  if (!install) throw notFound("Bootstrap token was not found");
  return install;
}

/** A consumed record no longer expires; others are marked as expired when they are read. */
function refuseExpired(store: Store, install: InstallRow): void {
  if (install.consumedAt !== null || install.expiresAt > isoNow()) return;
  const expired = { status: "expired", stage: "expired", updatedAt: isoNow() } as const;
  if (install.status !== "expired") store.installs.update(install.installId, expired);
  throw new ApiError(410, "Bootstrap token has expired");
}

/** Works once: if this answer is lost, so are the credentials. */
function consume(store: Store, body: Values<typeof Consume>): { nodeId: string; agentToken: string | null } {
  const install = find(store, body.token);
  if (install.consumedAt !== null) throw conflict("Bootstrap token has already been used");
  refuseExpired(store, install);
  const info = body.additionalInfo;
  const node = insertNode(store, {
    name: install.nodeName,
    hostname: body.hostname,
    os: info?.os ?? null,
    arch: info?.arch ?? null,
    agentVersion: info?.agentVersion ?? null,
    platformVersion: info?.platformVersion ?? null,
    kernelVersion: info?.kernelVersion ?? null,
  });
  const now = isoNow();
  store.installs.update(install.installId, {
    nodeId: node.id,
    hostname: body.hostname,
    status: "installing",
    stage: "bootstrap_token_consumed",
    progressPercent: Math.max(install.progressPercent, CONSUMED_PERCENT),
    statusMessage: "Bootstrap token consumed.",
    startedAt: install.startedAt ?? now,
    consumedAt: now,
    updatedAt: now,
  });
  return { nodeId: node.id, agentToken: node.agentToken };
}

/** After completed or failed, a report with another status is answered with the unchanged record. */
function report(store: Store, body: Values<typeof Progress>): InstallRow {
  const install = find(store, body.token);
  refuseExpired(store, install);
  const status = body.status ?? "installing";
  const over = install.status === "completed" || install.status === "failed";
  if (over && install.status !== status) return install;
  const now = isoNow();
  return store.installs.save({
    ...install,
    status,
    stage: body.stage,
    progressPercent: body.progressPercent ?? (status === "completed" ? 100 : install.progressPercent),
    statusMessage: body.statusMessage?.trim() ? body.statusMessage : `Install stage: ${body.stage}.`,
    startedAt: install.startedAt ?? now,
    updatedAt: now,
  });
}

/** The record without its token. */
function wireInstall(install: InstallRow): Record<string, unknown> {
  return { ...install, token: undefined, workspaceId: WORKSPACE_ID, teamId: null };
}
