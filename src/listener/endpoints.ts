// Maps method and URL of a request to an endpoint of the agent's HTTP server. Pure.
import { NAME } from "../protocol/caravanserai/resources.ts";

export type ListenerEndpoint =
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
 * The paths that Bun matches with the path as sent. `Request.url` is normalized (no dot segments, backslashes become slashes). A
 * request is answered only when both lead to the same endpoint.
 */
export const ENDPOINT_PATHS = [
  "/healthz",
  "/readyz",
  "/api/v1/forward/:project/:service/:port",
  "/api/v1/logs/:project/:service",
] as const;

/** What Docker accepts in a container's name. */
const SERVICE = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/;

/** Returns the endpoint, or the problem to answer. `url` is absolute, or a path alone when the Host header is not valid. */
export function endpointOf(method: string, url: string): ListenerEndpoint {
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
      return apiEndpointOf(method, parts.slice(2), searchParams);
    }
  }
}

function apiEndpointOf(
  method: string,
  [kind, ...rest]: readonly string[],
  query: URLSearchParams,
): ListenerEndpoint {
  const wanted = kind === "forward" ? 3 : kind === "logs" ? 2 : 0;
  // A dot at the end is gone by now, and leaves an empty segment.
  if (wanted === 0 || rest.length !== wanted || rest.at(-1) === "")
    return wrong(404, "there is nothing here");
  if (method !== "GET") return wrong(405, "ask with GET", "GET");
  const [project = "", service = "", port = ""] = rest.map(decoded);
  if (!NAME.test(project)) return wrong(400, "this is no name of a project");
  if (!SERVICE.test(service)) return wrong(400, "this is no name of a service");
  return kind === "forward"
    ? { to: "forward", project, service, port }
    : { to: "logs", project, service, query };
}

/** Decodes a path segment; empty, which is not a valid name, when that fails. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

const wrong = (status: 400 | 404 | 405, detail: string, allow = ""): ListenerEndpoint => ({
  to: "problem",
  status,
  detail,
  allow,
});
