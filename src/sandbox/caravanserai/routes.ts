// Every route of the miniature Caravanserai server: those of the agent, and those of `caractrl`.
import { PHASES, type ProjectPhase } from "../../protocol/caravanserai/resources.ts";
import { badRequest } from "../http/api-error.ts";
import type { Params } from "../noderax/route.ts";
import { parseHeartbeat, parseNode, parseProject, parseReport } from "./manifest.ts";
import type { CaraServer } from "./server.ts";

export interface CaraCall {
  readonly params: Params;
  readonly query: URLSearchParams;
  readonly body: unknown;
}

export interface CaraRoute {
  /** What faults are filtered by. */
  readonly name: string;
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  /** Of a success; without a body it is 204. */
  readonly status?: 201 | 202;
  /** Returns the body, or undefined for none. */
  handle(call: CaraCall): unknown;
}

const nameIn = ({ params }: CaraCall): string => params["name"] ?? "";
const isForced = ({ query }: CaraCall): boolean => /^(1|t|true)$/i.test(query.get("force") ?? "");

/** The name stands twice, in the address and in the document. */
function ofThatName<M extends { readonly name: string }>(manifest: M, call: CaraCall): M {
  if (manifest.name === nameIn(call)) return manifest;
  throw badRequest(`metadata.name: must be "${nameIn(call)}", as in the address`);
}

const isPhase = (text: string): text is ProjectPhase => (PHASES as readonly string[]).includes(text);

function phasesIn(query: URLSearchParams): ProjectPhase[] {
  return query.getAll("phase").map((text) => {
    if (isPhase(text)) return text;
    throw badRequest(`phase: unknown phase ${JSON.stringify(text)}; there are ${PHASES.join(", ")}`);
  });
}

export function caraRoutes(server: CaraServer): CaraRoute[] {
  return [
    { name: "cara.health", method: "GET", path: "/api/healthz", handle: () => ({ status: "ok" }) },
    {
      name: "cara.register",
      method: "POST",
      path: "/api/v1/nodes",
      status: 201,
      handle: ({ body }) => server.registerNode(parseNode(body)),
    },
    {
      name: "cara.nodes",
      method: "GET",
      path: "/api/v1/nodes",
      handle: () => ({ kind: "NodeList", items: server.nodes() }),
    },
    {
      name: "cara.node",
      method: "GET",
      path: "/api/v1/nodes/:name",
      handle: (call) => server.node(nameIn(call)),
    },
    {
      name: "cara.node-change",
      method: "PUT",
      path: "/api/v1/nodes/:name",
      handle: (call) => server.changeNode(ofThatName(parseNode(call.body), call)),
    },
    {
      name: "cara.node-delete",
      method: "DELETE",
      path: "/api/v1/nodes/:name",
      handle: (call) => server.deleteNode(nameIn(call)),
    },
    {
      name: "cara.heartbeat",
      method: "POST",
      path: "/api/v1/nodes/:name/heartbeat",
      handle: (call) => server.heartbeat(nameIn(call), parseHeartbeat(call.body)),
    },
    {
      name: "cara.project-create",
      method: "POST",
      path: "/api/v1/projects",
      status: 201,
      handle: ({ body }) => server.createProject(parseProject(body)),
    },
    {
      name: "cara.projects",
      method: "GET",
      path: "/api/v1/projects",
      handle: ({ query }) => ({
        kind: "ProjectList",
        items: server.projects({ phases: phasesIn(query), nodeRef: query.get("nodeRef") ?? undefined }),
      }),
    },
    {
      name: "cara.project",
      method: "GET",
      path: "/api/v1/projects/:name",
      handle: (call) => server.project(nameIn(call)),
    },
    {
      name: "cara.project-change",
      method: "PUT",
      path: "/api/v1/projects/:name",
      handle: (call) =>
        server.changeProject(ofThatName(parseProject(call.body), call), { force: isForced(call) }),
    },
    {
      name: "cara.project-delete",
      method: "DELETE",
      path: "/api/v1/projects/:name",
      status: 202,
      handle: (call) => server.deleteProject(nameIn(call), { force: isForced(call) }),
    },
    {
      name: "cara.status",
      method: "PATCH",
      path: "/api/v1/projects/:name/status",
      handle: (call) => server.report(nameIn(call), parseReport(call.body)),
    },
  ];
}
