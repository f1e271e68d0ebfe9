// From a request to its answer: route, access, and who of the others makes it.
import { steadyNow } from "../lib/clock.ts";
import type { Server } from "bun";
import { seconds } from "../lib/duration.ts";
import type { LoopRecord } from "../lib/loop.ts";
import type { Log } from "../platform/log.ts";
import { type AccessPolicy, decide, presentedTokens, readableBy } from "./access.ts";
import type { Attempts } from "./attempts.ts";
import { readiness } from "./health.ts";
import type { LogStreams } from "./logs.ts";
import { PLAIN_ANSWER, problem } from "./problem.ts";
import { type Route, routeOf } from "./routes.ts";
import type { Tunnels } from "./tunnels-port.ts";

export interface AnswerPorts<Data> {
  readonly tunnels: Tunnels<Data>;
  readonly logs: LogStreams;
  readonly policy: AccessPolicy;
  readonly attempts: Attempts;
  readonly loops: () => readonly LoopRecord[];
  readonly log: Log;
}

export type Answer<Data> = (request: Request, server: Server<Data>) => Promise<Response | undefined>;

/** How long a connection may be silent; Bun's own default. */
export const IDLE_SECONDS = 10;

/** Undefined for a connection that has become a tunnel. */
export function createAnswer<Data>(ports: AnswerPorts<Data>): Answer<Data> {
  const { tunnels, logs, policy, attempts, loops, log } = ports;

  /** Who it is, or why not. */
  function admit(headers: Headers, peer: string): { readonly by: string } | Response {
    const guessed = presentedTokens(headers).length > 0 ? attempts.blocked(peer, "guesses") : 0;
    if (guessed > 0) {
      attempts.refused(peer, "token");
      return tooMany(guessed);
    }
    const verdict = decide({ peer, headers }, policy);
    if (verdict.allowed) return verdict;
    const wait = attempts.blocked(peer);
    attempts.refused(peer, verdict.why);
    return wait > 0 ? tooMany(wait) : REFUSALS[verdict.status](verdict.detail);
  }

  /** Access comes first: who may not ask learns nothing of what there is. */
  async function toContainer(
    request: Request,
    server: Server<Data>,
    route: Extract<Route, { readonly service: string }>,
  ): Promise<Response | undefined> {
    const peer = server.requestIP(request)?.address;
    if (peer === undefined) return problem(400, "Bad Request", "the connection is closed");
    const admitted = admit(request.headers, peer);
    if (admitted instanceof Response) return admitted;
    const service = `${route.project}/${route.service}`;
    const fields = { peer, by: admitted.by };
    if (route.to === "forward") {
      const refusal = await tunnels.open(request, server, route);
      if (refusal === undefined) log.info("listener", `tunnel to ${service}:${route.port}`, fields);
      return refusal;
    }
    // Docker may think for half a minute, and what is followed may be silent for days.
    server.timeout(request, 0);
    const answer = await logs.open(request, route);
    if (answer.status === 200) log.info("listener", `logs of ${service}`, fields);
    else server.timeout(request, IDLE_SECONDS);
    return answer;
  }

  return async (request, server) => {
    const route = routeOf(request.method, request.url);
    if (hasBody(request.headers))
      return problem(413, "Content Too Large", "no request here has a body", { connection: "close" });
    // Read now: of a request whose client is gone, headers cannot be read any more.
    const readable = readableBy(request.headers, policy);
    if (request.method === "OPTIONS" && readable["vary"] !== undefined)
      return new Response(null, { status: 204, headers: { ...PLAIN_ANSWER, ...PREFLIGHT, ...readable } });
    if (route.to === "forward" || route.to === "logs") {
      const answer = await toContainer(request, server, route);
      for (const [name, value] of Object.entries(readable)) answer?.headers.set(name, value);
      return answer;
    }
    return route.to === "problem" ? refuse(route) : health(route.to);
  };

  function health(of: "healthz" | "readyz"): Response {
    if (of === "healthz") {
      const headers = { ...PLAIN_ANSWER, "content-type": "text/plain; charset=utf-8" };
      return new Response("OK", { headers });
    }
    const told = readiness(loops(), steadyNow());
    return Response.json(told, { status: told.ready ? 200 : 503, headers: PLAIN_ANSWER });
  }
}

/** Browsers ask for leave before they send a token. */
const PREFLIGHT = {
  "access-control-allow-methods": "GET",
  "access-control-allow-headers": "authorization",
  "access-control-max-age": "600",
} as const;

function refuse({ status, detail, allow }: Extract<Route, { readonly to: "problem" }>): Response {
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
