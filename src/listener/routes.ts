// Which of its routes a request means, whatever a client writes. Pure.
import { NAME } from "../protocol/caravanserai/resources.ts";

export type ListenerRoute =
  | { readonly to: "healthz" | "readyz" }
  | { readonly to: "forward"; readonly project: string; readonly service: string; readonly port: string }
  | {
      readonly to: "logs";
      readonly project: string;
      readonly service: string;
      readonly query: URLSearchParams;
    }
  | {
      readonly to: "problem";
      readonly status: 400 | 404 | 405;
      readonly detail: string;
      readonly allow: string;
    };

/**
 * For Bun to match with a path as it was sent. `Request.url` is what the URL standard makes of it: without dot segments, and with
 * slashes for backslashes. A request is answered only where both mean the same route.
 */
export const PATHS = [
  "/healthz",
  "/readyz",
  "/api/v1/forward/:project/:service/:port",
  "/api/v1/logs/:project/:service",
] as const;

/** What Docker takes as part of a container's name. */
const SERVICE = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/;

/** `url` is a whole one, or a path alone where the Host header made none. */
export function routeOf(method: string, url: string): ListenerRoute {
  const parsed = URL.parse(url, "http://agent");
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) return wrong(400, "this is no path");
  const { pathname, searchParams } = parsed;
  switch (pathname) {
    case "/healthz":
    case "/readyz": {
      const to = pathname === "/healthz" ? "healthz" : "readyz";
      return method === "GET" || method === "HEAD" ? { to } : wrong(405, "ask with GET", "GET, HEAD");
    }
    default: {
      const parts = pathname.split("/").slice(1);
      if (parts[0] !== "api" || parts[1] !== "v1") return wrong(404, "there is nothing here");
      return routeOfApi(method, parts.slice(2), searchParams);
    }
  }
}

function routeOfApi(
  method: string,
  [kind, ...rest]: readonly string[],
  query: URLSearchParams,
): ListenerRoute {
  const wanted = kind === "forward" ? 3 : kind === "logs" ? 2 : 0;
  if (wanted === 0 || rest.length !== wanted) return wrong(404, "there is nothing here");
  if (method !== "GET") return wrong(405, "ask with GET", "GET");
  const [project = "", service = "", port = ""] = rest.map(decoded);
  if (!NAME.test(project)) return wrong(400, "this is no name of a project");
  if (!SERVICE.test(service)) return wrong(400, "this is no name of a service");
  return kind === "forward"
    ? { to: "forward", project, service, port }
    : { to: "logs", project, service, query };
}

/** What cannot be decoded is no name of anything. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

const wrong = (status: 400 | 404 | 405, detail: string, allow = ""): ListenerRoute => ({
  to: "problem",
  status,
  detail,
  allow,
});
