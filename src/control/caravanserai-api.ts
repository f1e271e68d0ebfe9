// Calls the Caravanserai server. It has no authentication today.
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

/** Phases the agent works on; the others need no containers. */
const LISTED = ["Scheduled", "Running", "Failed", "Terminating"];

/** All calls are idempotent. They throw errors of `Http`, except for the answers named below. */
export function caravanseraiApi(http: Http, timeout: Duration) {
  const common = { timeout, idempotent: true } as const;
  const node = (name: string): string => `/api/v1/nodes/${encodeURIComponent(name)}`;
  const project = (name: string): string => `/api/v1/projects/${encodeURIComponent(name)}`;
  return {
    /**
     * Registers the node; accepts 409, it exists already. Throws 400 for a name the server does not accept.
     */
    async register(body: NodeRegistration, signal: AbortSignal): Promise<void> {
      const call = { ...common, method: "POST", path: "/api/v1/nodes", body, answer: NodeCreated } as const;
      await http(call, signal).catch(accept(409));
    },
    /** Throws 404 when the node was deleted. */
    async heartbeat(name: string, body: NodeHeartbeat, signal: AbortSignal): Promise<void> {
      const path = `${node(name)}/heartbeat`;
      await http({ ...common, method: "POST", path, body, answer: NO_BODY }, signal);
    },
    /**
     * Returns the node's projects unparsed: each is parsed alone, so that one wrong project does not cost the
     * others.
     */
    async projects(nodeName: string, signal: AbortSignal): Promise<readonly unknown[]> {
      const query = new URLSearchParams(LISTED.map((phase): [string, string] => ["phase", phase]));
      query.append("nodeRef", nodeName);
      const path = `/api/v1/projects?${query.toString()}`;
      return (await http({ ...common, method: "GET", path, answer: ProjectList }, signal)).items;
    },
    /**
     * Returns node and phase of a project; undefined when the server has none of that name. Throws
     * "http.foreign" for the 404 of a proxy or a wrong address, which must not cost a project its containers.
     */
    async place(name: string, signal: AbortSignal): Promise<ProjectPlace | undefined> {
      const call = { ...common, method: "GET", path: project(name), answer: ProjectPlace } as const;
      return http(call, signal).catch(accept(404));
    },
    /** Returns the address of a node's agent; undefined when the server has no node of that name. */
    async nodePlace(name: string, signal: AbortSignal): Promise<NodePlace | undefined> {
      const call = { ...common, method: "GET", path: node(name), answer: NodePlace } as const;
      return http(call, signal).catch(accept(404));
    },
    /**
     * Reports the status of a project; accepts 404, it was deleted. Throws 400 for a phase the server does
     * not accept.
     */
    async report(name: string, body: ProjectStatus, signal: AbortSignal): Promise<void> {
      const path = `${project(name)}/status`;
      await http({ ...common, method: "PATCH", path, body, answer: NO_BODY }, signal).catch(accept(404));
    },
  };
}
export type CaravanseraiApi = ReturnType<typeof caravanseraiApi>;

/** Turns one status into undefined; throws everything else. */
const accept =
  (status: number) =>
  (error: unknown): undefined => {
    if (isStatus(error, status)) return undefined;
    throw error;
  };
