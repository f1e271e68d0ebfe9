// The operator's REST under /sandbox/v1: every call carries the operator token, and no foreign page may call.
import * as v from "valibot";
import type { Log } from "../platform/log.ts";
import { messageOf } from "../lib/agent-error.ts";
import { ROOT_PROFILES } from "../protocol/noderax/root-access.ts";
import { InvalidManifest } from "./caravanserai/manifest.ts";
import { jsonAnswer, sameSecret } from "./http/answer.ts";
import { ApiError, UnknownError } from "./http/api-error.ts";
import { readJsonBody } from "./http/body.ts";
import { type Params, matchPath } from "./noderax/route.ts";
import type { Operations } from "./operations.ts";
import {
  InvalidDocument,
  faultsDocument,
  parseDocument,
  parseFaults,
  parseTimings,
  timingsDocument,
} from "./settings.ts";
import type { Faults } from "./faults.ts";
import type { Timings } from "./timings.ts";

export const OPERATOR_PREFIX = "/sandbox/v1";

/** The switches of the sandbox itself. */
export interface Switches {
  readonly faults: Readonly<Faults>;
  readonly timings: Readonly<Timings>;
  setFaults(change: Partial<Faults>): void;
  setTimings(change: Partial<Timings>): void;
}

export interface OperatorPorts {
  readonly operations: Operations;
  readonly switches: Switches;
  readonly token: string;
  /** Pages of these origins may call. */
  readonly origins: ReadonlySet<string>;
  readonly log: Log;
}

interface Call {
  readonly params: Params;
  readonly query: URLSearchParams;
  readonly body: unknown;
}

type Action = (call: Call) => unknown;

/** Returns the refusal of a caller without the token or on a foreign page; undefined when the call is allowed. */
export function refuseCaller(
  { origins, token }: Pick<OperatorPorts, "origins" | "token">,
  request: Request,
  given = /^Bearer\s+(\S+)\s*$/i.exec(request.headers.get("authorization") ?? "")?.[1] ?? "",
): Response | undefined {
  const origin = request.headers.get("origin");
  if (origin !== null && !origins.has(origin))
    return jsonAnswer(request, 403, { message: `pages of ${origin} may not call this` });
  if (!sameSecret(given, token))
    return jsonAnswer(request, 401, { message: "the operator token is missing or wrong" });
  return undefined;
}

/** Answers one request of an operator. Refusals are `{message, known?}` with the status of the reason. */
export async function answerOperator(ports: OperatorPorts, request: Request): Promise<Response> {
  const refusal = refuseCaller(ports, request);
  if (refusal) return refusal;
  const refuse = (status: number, message: string, known?: readonly string[]): Response =>
    jsonAnswer(request, status, { message, known });
  const url = new URL(request.url);
  try {
    const path = url.pathname.slice(OPERATOR_PREFIX.length);
    const found = findAction(actions(ports), request.method, path);
    if (!found) return refuse(404, `there is no ${request.method} ${url.pathname}`);
    const body = await readJsonBody(request);
    const answer = found.action({ params: found.params, query: url.searchParams, body });
    return jsonAnswer(request, request.method === "POST" ? 201 : 200, answer ?? { ok: true });
  } catch (error) {
    if (error instanceof UnknownError) return refuse(404, error.message, error.known);
    if (error instanceof ApiError) return refuse(error.status, error.message);
    if (error instanceof InvalidDocument || error instanceof InvalidManifest)
      return refuse(400, error.message);
    ports.log.error("sandbox", "an operator's call failed", { path: url.pathname, error: messageOf(error) });
    return refuse(500, messageOf(error));
  }
}

const text = v.pipe(v.string(), v.minLength(1));
const Approve = v.strictObject({ token: text, email: v.optional(text), name: v.optional(text) });
const Revoke = v.strictObject({ token: text });
const NewInstall = v.strictObject({ node_name: text });
const NewTask = v.strictObject({
  node: text,
  type: v.optional(v.pipe(v.string(), v.minLength(2)), "shell.exec"),
  payload: v.optional(v.record(v.string(), v.unknown())),
  unchecked: v.optional(v.boolean()),
});
const Cancel = v.strictObject({ reason: v.optional(v.pipe(v.string(), v.maxLength(500))) });
const NewUpdate = v.strictObject({ node: text, target_version: text, rollback: v.optional(v.boolean()) });
const RootAccess = v.strictObject({ profile: v.picklist(ROOT_PROFILES) });
const NewTerminal = v.strictObject({
  node: text,
  cols: v.optional(v.number()),
  rows: v.optional(v.number()),
  run_as_root: v.optional(v.boolean()),
  unchecked: v.optional(v.boolean()),
});
const BASE64 = "must be base64";
const Input = v.union(
  [v.strictObject({ text }), v.strictObject({ payload: v.pipe(v.string(BASE64), v.base64(BASE64)) })],
  "give either text, or payload in base64",
);
const Size = v.strictObject({ cols: v.number(), rows: v.number() });
const Stop = v.strictObject({ reason: v.optional(text) });
const Disconnect = v.strictObject({ node: v.optional(text) });
const Schedulability = v.strictObject({ unschedulable: v.boolean() });
const Maintenance = v.strictObject({ enabled: v.boolean() });

function actions({ operations, switches }: OperatorPorts): Record<string, Action> {
  const of = (params: Params, name: string): string => params[name] ?? "";
  return {
    "GET /nodes": () => operations.nodes(),
    "GET /nodes/:node": ({ params }) => operations.node(of(params, "node")),
    "DELETE /nodes/:node": ({ params }) => operations.deleteNode(of(params, "node")),
    "PUT /nodes/:node/root-access": ({ params, body }) =>
      operations.setRootAccess(of(params, "node"), parseDocument(RootAccess, body).profile),
    "PUT /nodes/:node/maintenance": ({ params, body }) =>
      operations.setMaintenance(of(params, "node"), parseDocument(Maintenance, body).enabled),
    "GET /enrollments": () => operations.enrollments(),
    "POST /enrollments/approve": ({ body }) => operations.approve(parseDocument(Approve, body)),
    "POST /enrollments/revoke": ({ body }) => operations.revokeEnrollment(parseDocument(Revoke, body).token),
    "GET /node-installs": () => operations.installs(),
    "POST /node-installs": ({ body }) => operations.createInstall(parseDocument(NewInstall, body).node_name),
    "GET /tasks": ({ query }) => operations.tasks(query.get("node") ?? undefined),
    "POST /tasks": ({ body }) => operations.createTask(parseDocument(NewTask, body)),
    "GET /tasks/:task": ({ params }) => operations.task(of(params, "task")),
    "GET /tasks/:task/logs": ({ params, query }) =>
      operations.logs(of(params, "task"), { all: query.get("all") === "1" }),
    "POST /tasks/:task/cancel": ({ params, body }) =>
      operations.cancel(of(params, "task"), parseDocument(Cancel, body).reason),
    "GET /updates": () => operations.updates(),
    "POST /updates": ({ body }) => {
      const { node, target_version, rollback } = parseDocument(NewUpdate, body);
      return operations.createUpdate({ node, targetVersion: target_version, rollback });
    },
    "GET /events": () => operations.events(),
    "GET /nodes/:node/metrics": ({ params, query }) =>
      operations.metrics(of(params, "node"), countOf(query, "limit")),
    "GET /terminals": ({ query }) => operations.terminals(query.get("node") ?? undefined),
    "POST /terminals": ({ body }) => {
      const { run_as_root: runAsRoot, ...request } = parseDocument(NewTerminal, body);
      return operations.openTerminal({ ...request, runAsRoot });
    },
    "GET /terminals/:terminal": ({ params }) => operations.terminal(of(params, "terminal")),
    "GET /terminals/:terminal/transcript": ({ params, query }) =>
      operations.transcript(of(params, "terminal"), { after: countOf(query, "after") ?? 0 }),
    "POST /terminals/:terminal/input": ({ params, body }) => {
      const input = parseDocument(Input, body);
      const bytes = "text" in input ? input.text : Buffer.from(input.payload, "base64");
      return operations.typeInto(of(params, "terminal"), bytes);
    },
    "POST /terminals/:terminal/resize": ({ params, body }) => {
      const { cols, rows } = parseDocument(Size, body);
      return operations.resizeTerminal(of(params, "terminal"), cols, rows);
    },
    "POST /terminals/:terminal/stop": ({ params, body }) =>
      operations.stopTerminal(of(params, "terminal"), parseDocument(Stop, body).reason),
    "POST /sockets/disconnect": ({ body }) => ({
      disconnected: operations.disconnect(parseDocument(Disconnect, body).node),
    }),
    "GET /cara/nodes": () => operations.caraNodes(),
    "PUT /cara/nodes": ({ body }) => operations.applyCaraNode(body),
    "GET /cara/nodes/:name": ({ params }) => operations.caraNode(of(params, "name")),
    "DELETE /cara/nodes/:name": ({ params }) => operations.deleteCaraNode(of(params, "name")),
    "PUT /cara/nodes/:name/unschedulable": ({ params, body }) =>
      operations.setUnschedulable(of(params, "name"), parseDocument(Schedulability, body).unschedulable),
    "GET /cara/projects": () => operations.projects(),
    "PUT /cara/projects": ({ body, query }) =>
      operations.applyProject(body, { force: query.get("force") === "true" }),
    "GET /cara/projects/:name": ({ params }) => operations.project(of(params, "name")),
    "GET /cara/projects/:name/reports": ({ params }) => operations.projectReports(of(params, "name")),
    "DELETE /cara/projects/:name": ({ params, query }) =>
      operations.deleteProject(of(params, "name"), { force: query.get("force") === "true" }),
    "GET /faults": () => faultsDocument(switches.faults),
    "PUT /faults": ({ body }) => {
      switches.setFaults(parseFaults(body));
      return faultsDocument(switches.faults);
    },
    "GET /timings": () => timingsDocument(switches.timings),
    "PUT /timings": ({ body }) => {
      switches.setTimings(parseTimings(body));
      return timingsDocument(switches.timings);
    },
  };
}

function countOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidDocument(`${name}: must be a whole number, 0 or more`);
}

function findAction(
  actions: Record<string, Action>,
  method: string,
  path: string,
): { action: Action; params: Params } | undefined {
  for (const [route, action] of Object.entries(actions)) {
    const [wanted = "", pattern = ""] = route.split(" ");
    const params = wanted === method ? matchPath(pattern, path) : undefined;
    if (params) return { action, params };
  }
  return undefined;
}
