// Signs of life over HTTP: heartbeat, and the legacy registration. Both put the node online at once.
import { sameSecret } from "../http/answer.ts";
import { ApiError, badRequest } from "../http/api-error.ts";
import type { NodeRow } from "../entities.ts";
import type { Store } from "../store.ts";
import { authenticateBody } from "./auth.ts";
import { insertNode, markAlive, newAgentToken, recordEvent } from "./nodes.ts";
import { type ApiRoute, publicRoute } from "./route.ts";
import { observeVersion } from "./updates.ts";
import { isoDate, optional, textField, uuidField } from "./validation.ts";

const version = () => optional(textField({ min: 1 }));

export function heartbeatRoutes(store: Store, registrationSecret: string): ApiRoute[] {
  return [
    publicRoute(
      {
        name: "heartbeat",
        path: "/agent/heartbeat",
        body: {
          nodeId: uuidField(),
          agentToken: textField({ min: 32 }),
          agentVersion: version(),
          platformVersion: version(),
          kernelVersion: version(),
          sentAt: optional(isoDate()),
        },
      },
      ({ body }) => heartbeat(store, body),
    ),
    publicRoute(
      {
        name: "register",
        path: "/agent/register",
        status: 201,
        body: {
          hostname: textField({ min: 2, trim: true, lowerCase: true }),
          enrollmentToken: textField(),
          os: optional(textField()),
          operatingSystem: optional(textField()),
          platform: optional(textField()),
          arch: optional(textField()),
          architecture: optional(textField()),
          platformVersion: optional(textField()),
          kernelVersion: optional(textField()),
          agentVersion: optional(textField()),
        },
      },
      ({ body }) => {
        if (!sameSecret(body.enrollmentToken, registrationSecret)) {
          throw new ApiError(403, "Invalid enrollment token");
        }
        const os = body.os ?? body.operatingSystem ?? body.platform;
        const arch = body.arch ?? body.architecture;
        if (!os) throw badRequest("os is required");
        if (!arch) throw badRequest("arch is required");
        return register(store, { hostname: body.hostname, os, arch, ...versionsOf(body) });
      },
    ),
  ];
}

export type Versions = Pick<NodeRow, "agentVersion" | "platformVersion" | "kernelVersion">;

export function versionsOf(body: { [K in keyof Versions]: string | undefined }): Versions {
  return {
    agentVersion: body.agentVersion ?? null,
    platformVersion: body.platformVersion ?? null,
    kernelVersion: body.kernelVersion ?? null,
  };
}

function heartbeat(
  store: Store,
  body: { nodeId: string; agentToken: string } & { [K in keyof Versions]: string | undefined },
): Record<string, unknown> {
  const node = authenticateBody(body, store);
  const alive = markAlive(store, node, reported(node, versionsOf(body)));
  if (node.status === "offline") recordEvent(store, node.id, "node.online");
  observeVersion(store, alive);
  return { acknowledged: true, nodeId: node.id, status: alive.status, lastSeenAt: alive.lastSeenAt };
}

/** The trap: a node that was offline and sends some of the versions loses the ones it left out. */
export function reported(node: NodeRow, versions: Versions): Partial<Versions> {
  const sent = Object.entries(versions).filter(([, value]) => value !== null);
  if (sent.length === 0) return {};
  return node.status === "offline" ? versions : Object.fromEntries(sent);
}

/** Legacy: makes the node, or takes over the one with this hostname and replaces its token. */
function register(
  store: Store,
  facts: Versions & { hostname: string; os: string; arch: string },
): { nodeId: string; agentToken: string } {
  const agentToken = newAgentToken();
  const node =
    store.nodes.find("hostname = ?", facts.hostname) ?? insertNode(store, { ...facts, name: facts.hostname });
  markAlive(store, node, { ...facts, agentToken });
  return { nodeId: node.id, agentToken };
}
