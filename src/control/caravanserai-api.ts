// The calls of the Caravanserai server that the agent makes. Today's server knows no authentication.
import { isStatus } from "../lib/agent-error.ts";
import type { Duration } from "../lib/duration.ts";
import {
  type NodeHeartbeat,
  NodeCreated,
  NodePlace,
  type NodeRegistration,
  ProjectList,
  ProjectPlace,
  type ProjectStatus,
} from "../protocol/caravanserai/resources.ts";
import { type Http, NO_BODY } from "./http.ts";

/** What the agent works on: other phases need no containers. */
const LISTED = ["Scheduled", "Running", "Failed", "Terminating"];

/** All of them may be sent twice without harm. Throws what `Http` throws, but for the answers that are fine. */
export function caravanseraiApi(http: Http, timeout: Duration) {
  const common = { timeout, idempotent: true } as const;
  const node = (name: string): string => `/api/v1/nodes/${encodeURIComponent(name)}`;
  const project = (name: string): string => `/api/v1/projects/${encodeURIComponent(name)}`;
  return {
    /** One that exists already is fine. 400: the server does not take the name. */
    async register(body: NodeRegistration, signal: AbortSignal): Promise<void> {
      const call = { ...common, method: "POST", path: "/api/v1/nodes", body, answer: NodeCreated } as const;
      await http(call, signal).catch(accept(409));
    },
    /** 404: the node was deleted. */
    async heartbeat(name: string, body: NodeHeartbeat, signal: AbortSignal): Promise<void> {
      const path = `${node(name)}/heartbeat`;
      await http({ ...common, method: "POST", path, body, answer: NO_BODY }, signal);
    },
    /** The node's projects, unparsed: each is read by itself. */
    async projects(nodeName: string, signal: AbortSignal): Promise<readonly unknown[]> {
      const query = new URLSearchParams(LISTED.map((phase): [string, string] => ["phase", phase]));
      query.append("nodeRef", nodeName);
      const path = `/api/v1/projects?${query.toString()}`;
      return (await http({ ...common, method: "GET", path, answer: ProjectList }, signal)).items;
    },
    /**
     * Where a project is and in which phase; undefined when the server has none of that name. The 404 of a proxy, or of a
     * wrong address, is `http.foreign`: it says nothing of a project, and must not cost it its containers.
     */
    async place(name: string, signal: AbortSignal): Promise<ProjectPlace | undefined> {
      const call = { ...common, method: "GET", path: project(name), answer: ProjectPlace } as const;
      return http(call, signal).catch(accept(404));
    },
    /** Where a node's agent is; undefined when the server has no node of that name. */
    async nodePlace(name: string, signal: AbortSignal): Promise<NodePlace | undefined> {
      const call = { ...common, method: "GET", path: node(name), answer: NodePlace } as const;
      return http(call, signal).catch(accept(404));
    },
    /** One that is gone meanwhile is fine. 400: the server does not take the phase. */
    async report(name: string, body: ProjectStatus, signal: AbortSignal): Promise<void> {
      const path = `${project(name)}/status`;
      await http({ ...common, method: "PATCH", path, body, answer: NO_BODY }, signal).catch(accept(404));
    },
  };
}
export type CaravanseraiApi = ReturnType<typeof caravanseraiApi>;

/** Turns the one answer that is fine into undefined. */
const accept =
  (status: number) =>
  (error: unknown): undefined => {
    if (isStatus(error, status)) return undefined;
    throw error;
  };
