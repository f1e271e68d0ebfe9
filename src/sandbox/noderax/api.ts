// The control plane's agent-facing HTTP API: finds the route, then body, throttle, credentials, validation, handler.
import type { Log } from "../../platform/log.ts";
import { cutConnection, jsonAnswer } from "../http/answer.ts";
import { ApiError, errorBody, internalError, notFound } from "../http/api-error.ts";
import { readJsonBody } from "../http/body.ts";
import type { FaultInjector } from "../faults.ts";
import type { Store } from "../store.ts";
import { authenticateHeaders } from "./auth.ts";
import { type Params, type ApiRoute, matchPath } from "./route.ts";
import type { Throttle } from "./throttle.ts";

export interface ApiPorts {
  readonly routes: readonly ApiRoute[];
  readonly store: Store;
  readonly faults: FaultInjector;
  /** Undefined switches throttling off. */
  readonly throttle: Throttle | undefined;
  readonly stopping: AbortSignal;
  readonly log: Log;
}

const PREFIX = "/api/v1";

/** Answers one request of an agent. Never throws: an internal error is the API's plain 500. */
export async function answerAgent(ports: ApiPorts, request: Request, address: string): Promise<Response> {
  const { pathname, search } = new URL(request.url);
  const headers: Record<string, string> = {
    "X-Correlation-ID": request.headers.get("x-correlation-id") ?? crypto.randomUUID(),
  };
  const refuse = (error: unknown): Response => {
    const known = error instanceof ApiError ? error : internalError();
    if (known !== error)
      ports.log.error("sandbox", "a handler failed", { path: pathname, error: String(error) });
    return jsonAnswer(request, known.status, errorBody(known, pathname + search), {
      ...headers,
      ...known.headers,
    });
  };

  const found = findRoute(ports.routes, request.method, pathname);
  if (!found) return refuse(notFound(`Cannot ${request.method} ${pathname}`));
  const verdict = await ports.faults.judge(found.route.name, ports.stopping);
  if (verdict === "drop") return cutConnection();
  if (verdict === "fail") return refuse(internalError());

  const answer = await serve(ports, found, request, address, headers).catch(refuse);
  return verdict === "lose" ? cutConnection() : answer;
}

interface Found {
  readonly route: ApiRoute;
  readonly params: Params;
}

async function serve(
  { store, faults, throttle }: ApiPorts,
  { route, params }: Found,
  request: Request,
  address: string,
  headers: Record<string, string>,
): Promise<Response> {
  const body = await readJsonBody(request);
  if (route.auth === "public")
    Object.assign(headers, throttle?.count(address, `${route.method} ${route.path}`));
  const { databaseDown } = faults.faults;
  const node =
    route.auth === "headers" ? authenticateHeaders(request.headers, store, databaseDown) : undefined;
  const handle = route.prepare(body);
  if (databaseDown) throw internalError();
  return jsonAnswer(request, route.status, await handle(params, node), headers);
}

function findRoute(routes: readonly ApiRoute[], method: string, pathname: string): Found | undefined {
  if (!pathname.startsWith(`${PREFIX}/`)) return undefined;
  const path = pathname.slice(PREFIX.length);
  for (const route of routes) {
    const params = route.method === method ? matchPath(route.path, path) : undefined;
    if (params) return { route, params };
  }
  return undefined;
}
