// Calls to the sandbox's Caravanserai side over real sockets, and documents to send.
import type { ProjectResource } from "../../../src/sandbox/caravanserai/resources.ts";
import type { Sandbox, SandboxOptions } from "../../../src/sandbox/sandbox.ts";
import { sandboxWith, until } from "./harness.ts";

export interface CaraAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** The parsed body, `{}` without one; assertions look into it. */
  readonly body: Record<string, unknown>;
}

/** The scheduler looks often enough for a test; nodes are not missed unless a test asks for it. */
export const caraSandbox = ({ timings, ...options }: SandboxOptions = {}): Promise<Sandbox> =>
  sandboxWith({ ...options, timings: { projectPass: 5, nodeCheck: 5, ...timings } });

/** "GET /api/v1/projects" */
export async function cara(
  sandbox: Sandbox,
  line: string,
  body?: unknown,
  init: RequestInit = {},
): Promise<CaraAnswer> {
  const [method = "GET", path = ""] = line.split(" ");
  const response = await fetch(sandbox.url + path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...init,
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>),
  };
}

export const nodeDocument = (name: string, spec: object = {}): object => ({
  apiVersion: "caravanserai/v1",
  kind: "Node",
  metadata: { name },
  spec: { hostname: name, ...spec },
});

export const projectDocument = (name: string, spec: object = {}): object => ({
  apiVersion: "caravanserai/v1",
  kind: "Project",
  metadata: { name },
  spec: { services: [{ name: "web", image: "busybox:1" }], ...spec },
});

export const beat = (
  sandbox: Sandbox,
  name: string,
  body: object = { state: "Ready" },
): Promise<CaraAnswer> => cara(sandbox, `POST /api/v1/nodes/${name}/heartbeat`, body);

/** Registers a node and lets it be heard of. */
export async function readyNode(sandbox: Sandbox, name: string): Promise<void> {
  await cara(sandbox, "POST /api/v1/nodes", nodeDocument(name));
  await beat(sandbox, name);
}

export const report = (
  sandbox: Sandbox,
  name: string,
  phase: string,
  reason = "ContainersRunning",
  message = "",
): Promise<CaraAnswer> => cara(sandbox, `PATCH /api/v1/projects/${name}/status`, { phase, reason, message });

/** Waits until the project has the phase. */
export async function reaches(sandbox: Sandbox, name: string, phase: string): Promise<ProjectResource> {
  const status = (): string =>
    sandbox.projects().find(({ metadata }) => metadata.name === name)?.status.phase ?? "gone";
  await until(() => status() === phase).catch(() => {
    throw new Error(`project ${name} is ${status()}, not ${phase}`);
  });
  return sandbox.project(name);
}

/** Waits until the record is no more. */
export const isGone = (sandbox: Sandbox, name: string): Promise<void> =>
  until(() => !sandbox.projects().some(({ metadata }) => metadata.name === name));

/** Resolves after two passes of the scheduler: each has placed a project that was made before it. */
export async function twoPasses(sandbox: Sandbox): Promise<void> {
  for (const name of ["marker-1", "marker-2"]) {
    await cara(sandbox, "POST /api/v1/projects", projectDocument(name));
    await reaches(sandbox, name, "Scheduled");
  }
}

/** A project that the node `node` runs. */
export async function runningProject(sandbox: Sandbox, name: string, node = "n1"): Promise<ProjectResource> {
  await readyNode(sandbox, node);
  await cara(sandbox, "POST /api/v1/projects", projectDocument(name));
  await reaches(sandbox, name, "Scheduled");
  await report(sandbox, name, "Running");
  return reaches(sandbox, name, "Running");
}
