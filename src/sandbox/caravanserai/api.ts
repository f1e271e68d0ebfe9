// The Caravanserai server's HTTP: finds the route, reads the body, answers refusals as problem documents.
import { STATUS_CODES } from "node:http";
import { MIB } from "../../lib/size.ts";
import type { Log } from "../../platform/log.ts";
import { messageOf } from "../../lib/agent-error.ts";
import type { FaultInjector } from "../faults.ts";
import { cutConnection, jsonAnswer } from "../http/answer.ts";
import { ApiError } from "../http/api-error.ts";
import { type Params, matchPath } from "../noderax/route.ts";
import { InvalidManifest } from "./manifest.ts";
import type { CaraRoute } from "./routes.ts";

export interface CaraApiPorts {
  readonly routes: readonly CaraRoute[];
  readonly faults: FaultInjector;
  /** Pages of these origins may call. */
  readonly origins: ReadonlySet<string>;
  readonly stopping: AbortSignal;
  readonly log: Log;
}

/** Both control planes speak below /api/v1; these parts of it are this one's. */
export const isCaravanserai = (pathname: string): boolean =>
  /^\/api\/(?:healthz$|v1\/(?:nodes|projects)(?:\/|$))/.test(pathname);

/** Specs are text that people write. */
const BODY_LIMIT = MIB;

/** Answers one request of an agent or an operator. Never throws: an internal error is a plain 500. */
export async function answerCaravanserai(ports: CaraApiPorts, request: Request): Promise<Response> {
  const { faults, log } = ports;
  const { pathname } = new URL(request.url);
  // Requests need no credentials: without this check any page in a browser on this machine could start containers.
  const origin = request.headers.get("origin");
  if (origin !== null && !ports.origins.has(origin))
    return problemAnswer(request, 403, `pages of ${origin} may not call this`);
  const found = findRoute(ports.routes, request.method, pathname);
  if (!("route" in found)) {
    const { allowed } = found;
    if (allowed.length === 0) return problemAnswer(request, 404, `there is no ${pathname}`);
    const detail = `${request.method} is not allowed here`;
    return problemAnswer(request, 405, detail, { Allow: allowed.join(", ") });
  }
  const verdict = await faults.judge(found.route.name, ports.stopping);
  if (verdict === "drop") return cutConnection();
  if (verdict === "fail") return problemAnswer(request, 500, "internal server error");
  try {
    const answer = await serve(found, request, faults.faults.databaseDown);
    return verdict === "lose" ? cutConnection() : answer;
  } catch (error) {
    if (verdict === "lose") return cutConnection();
    if (error instanceof InvalidManifest) return problemAnswer(request, 400, error.message);
    if (error instanceof ApiError) return problemAnswer(request, error.status, error.message);
    log.error("sandbox", "a handler failed", { path: pathname, error: messageOf(error) });
    return problemAnswer(request, 500, "internal server error");
  }
}

interface Found {
  readonly route: CaraRoute;
  readonly params: Params;
}

async function serve({ route, params }: Found, request: Request, databaseDown: boolean): Promise<Response> {
  const body = await readBody(request);
  if (databaseDown) throw new ApiError(500, "failed to query the database");
  const answer = route.handle({ params, query: new URL(request.url).searchParams, body });
  if (answer === undefined) return new Response(null, { status: 204 });
  return jsonAnswer(request, route.status ?? 200, answer);
}

/** Whatever it is declared as, a body is JSON; without one it is an empty document. Throws ApiError. */
async function readBody(request: Request): Promise<unknown> {
  if (request.method === "GET" || request.method === "DELETE") return {};
  const tooLarge = new ApiError(413, `a body has ${BODY_LIMIT} bytes at most`);
  if (Number(request.headers.get("content-length") ?? 0) > BODY_LIMIT) throw tooLarge;
  const bytes = await request.arrayBuffer();
  if (bytes.byteLength > BODY_LIMIT) throw tooLarge;
  const text = new TextDecoder().decode(bytes);
  if (text.trim() === "") return {};
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError(400, `the body is not JSON: ${messageOf(error)}`);
  }
}

/** The route, or the methods by which the path could be called. */
function findRoute(
  routes: readonly CaraRoute[],
  method: string,
  pathname: string,
): Found | { readonly allowed: readonly string[] } {
  const allowed: string[] = [];
  for (const route of routes) {
    const params = matchPath(route.path, pathname);
    if (params && route.method === method) return { route, params };
    if (params) allowed.push(route.method);
  }
  return { allowed };
}

/** An RFC 9457 problem document; `type` is "about:blank": the status is the kind of problem. */
function problemAnswer(
  request: Request,
  status: number,
  detail: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const title = STATUS_CODES[status] ?? "Error";
  return jsonAnswer(
    request,
    status,
    { type: "about:blank", title, status, detail },
    { "Content-Type": "application/problem+json", ...headers },
  );
}
