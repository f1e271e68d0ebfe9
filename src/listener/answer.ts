// Answers requests: finds the endpoint, checks access, and hands over to tunnels, logs or health.
import { steadyNow } from "../lib/clock.ts";
import type { Server } from "bun";
import { seconds } from "../lib/duration.ts";
import type { LoopRecord } from "../lib/loop.ts";
import type { Log } from "../platform/log.ts";
import {
  type AccessPolicy,
  type AccessDecision,
  decideAccess,
  presentedTokens,
  readableBy,
} from "./access.ts";
import { unmapped } from "../lib/address.ts";
import type { Attempts } from "./attempts.ts";
import { readiness } from "./health.ts";
import { type Connection, findLocalClient } from "./local-client.ts";
import type { LogStreams } from "./logs.ts";
import { PLAIN_ANSWER, problem } from "./problem.ts";
import { type ListenerEndpoint, endpointOf } from "./endpoints.ts";
import type { Tunnels } from "./tunnels-port.ts";

export interface RequestHandlerPorts<Data> {
  readonly tunnels: Tunnels<Data>;
  readonly logs: LogStreams;
  readonly policy: AccessPolicy;
  /** The owner's word. */
  readonly allowForward: boolean;
  readonly attempts: Attempts;
  /** Users of this machine who need no token. */
  readonly isTrustedUser: (uid: number) => boolean;
  readonly loops: () => readonly LoopRecord[];
  readonly log: Log;
}

export interface RequestHandlers<Data> {
  /** Resolves with `undefined` for a connection that has become a tunnel. */
  readonly route: (request: Request, server: Server<Data>) => Promise<Response | undefined>;
  /** Answers a request whose path, as sent, matches none of `ENDPOINT_PATHS`. */
  readonly elsewhere: (request: Request) => Response;
}

/** How long a connection may be silent, in seconds; Bun's own default. */
export const IDLE_SECONDS = 10;

/** Creates the handlers of HTTP requests and of upgrades to a WebSocket. */
export function createRequestHandlers<Data>(ports: RequestHandlerPorts<Data>): RequestHandlers<Data> {
  const { tunnels, logs, policy, attempts, isTrustedUser, loops, log } = ports;

  /** Decides on access. Looks up the local user only where that decides. */
  async function decideFor(headers: Headers, client: Connection): Promise<AccessDecision> {
    const peer = client.address;
    const decision = decideAccess({ peer, headers }, policy);
    if (decision.allowed || decision.why !== "address") return decision;
    const local = await findLocalClient(client, isTrustedUser);
    return local === undefined ? decision : decideAccess({ peer, headers, local }, policy);
  }

  /** Resolves with what admitted the caller, or with the refusal; counts refusals. */
  async function admit(headers: Headers, client: Connection): Promise<{ readonly by: string } | Response> {
    const peer = client.address;
    const guessed = presentedTokens(headers).length > 0 ? attempts.blocked(peer, "guesses") : 0;
    // A user of this machine must not lock out trusted ones, who come from the same address.
    if (guessed > 0 && (await findLocalClient(client, isTrustedUser))?.trusted !== true) {
      attempts.refused(peer, "token");
      return tooMany(guessed);
    }
    const decision = await decideFor(headers, client);
    if (decision.allowed) return decision;
    const wait = attempts.blocked(peer);
    attempts.refused(peer, decision.why);
    return wait > 0 ? tooMany(wait) : REFUSALS[decision.status](decision.detail);
  }

  /** Checks access first: a refused caller learns nothing about the containers. */
  async function toContainer(
    request: Request,
    server: Server<Data>,
    route: Extract<ListenerEndpoint, { readonly service: string }>,
  ): Promise<Response | undefined> {
    const client = clientOf(request, server);
    if (client === undefined) return problem(400, "Bad Request", "the connection is closed");
    const admitted = await admit(request.headers, client);
    if (admitted instanceof Response) return admitted;
    const service = `${route.project}/${route.service}`;
    const fields = { peer: client.address, by: admitted.by };
    if (route.to === "forward") {
      if (!ports.allowForward) {
        log.warn("listener", `tunnel to ${service}:${route.port} refused (allow_forward)`, fields);
        return problem(403, "Forbidden", "the owner of this machine forbids tunnels (allow_forward)");
      }
      const refusal = await tunnels.open(request, server, route);
      if (refusal === undefined) log.info("listener", `tunnel to ${service}:${route.port}`, fields);
      return refusal;
    }
    // No timeout: Docker may need 30 s to answer, and a followed log may be silent for days.
    server.timeout(request, 0);
    const answer = await logs.open(request, route);
    if (answer.status === 200) log.info("listener", `logs of ${service}`, fields);
    else server.timeout(request, IDLE_SECONDS);
    return answer;
  }

  async function route(request: Request, server: Server<Data>): Promise<Response | undefined> {
    const route = endpointOf(request.method, request.url);
    if (hasBody(request.headers)) return tooLarge();
    // Read now: headers cannot be read once the client has disconnected.
    const readable = readableBy(request.headers, policy);
    if (request.method === "OPTIONS" && readable["vary"] !== undefined)
      return new Response(null, { status: 204, headers: { ...PLAIN_ANSWER, ...PREFLIGHT, ...readable } });
    if (route.to === "forward" || route.to === "logs") {
      const answer = await toContainer(request, server, route);
      for (const [name, value] of Object.entries(readable)) answer?.headers.set(name, value);
      return answer;
    }
    if (route.to === "problem") return refuse(route);
    if (route.to === "readyz") return ready(request, server);
    const headers = { ...PLAIN_ANSWER, "content-type": "text/plain; charset=utf-8" };
    return new Response("OK", { headers });
  }

  /** Everyone learns whether the agent is ready; callers who may read logs also see the loops. */
  async function ready(request: Request, server: Server<Data>): Promise<Response> {
    const client = clientOf(request, server);
    const { headers } = request;
    // A probe without a token does not count as refused. One with a token does: it would be a way to guess the token.
    const hasToken = presentedTokens(headers).length > 0;
    const decision = client && (await (hasToken ? admit(headers, client) : decideFor(headers, client)));
    const mayRead = decision !== undefined && "by" in decision;
    const { ready, loops: details } = readiness(loops(), steadyNow());
    const shown = mayRead ? { ready, loops: details } : { ready };
    return Response.json(shown, { status: ready ? 200 : 503, headers: PLAIN_ANSWER });
  }

  return {
    route,
    elsewhere(request) {
      if (hasBody(request.headers)) return tooLarge();
      const route = endpointOf(request.method, request.url);
      if (route.to === "problem") return refuse(route);
      // A proxy before us may have judged the path as written: normalizing it here would bypass that.
      return problem(400, "Bad Request", "the path must be written without dot segments and backslashes");
    },
  };
}

/** Returns `undefined` once the connection is closed. */
function clientOf<Data>(request: Request, server: Server<Data>): Connection | undefined {
  const peer = server.requestIP(request);
  if (peer === null) return undefined;
  return { address: unmapped(peer.address), port: peer.port, serverPort: server.port ?? 0 };
}

const tooLarge = (): Response =>
  problem(413, "Content Too Large", "no request here has a body", { connection: "close" });

/** Answer to a CORS preflight, which browsers send before a request with a token. */
const PREFLIGHT = {
  "access-control-allow-methods": "GET",
  "access-control-allow-headers": "authorization",
  "access-control-max-age": "600",
} as const;

function refuse({ status, detail, allow }: Extract<ListenerEndpoint, { readonly to: "problem" }>): Response {
  return problem(status, TITLES[status], detail, allow === "" ? {} : { allow });
}

const TITLES = { 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed" } as const;

const REFUSALS = {
  401: (detail: string) => problem(401, "Unauthorized", detail, { "www-authenticate": "Bearer" }),
  403: (detail: string) => problem(403, "Forbidden", detail),
  421: (detail: string) => problem(421, "Misdirected Request", detail),
} as const;

const tooMany = (wait: number): Response =>
  problem(429, "Too Many Requests", "too many tries were refused", {
    "retry-after": String(Math.ceil(wait / seconds(1))),
  });

const hasBody = (headers: Headers): boolean =>
  headers.has("transfer-encoding") || !/^0*$/.test(headers.get("content-length") ?? "");
