// A sandbox with an enrolled node, and calls to it over real sockets.
import type { Duration } from "../../../src/lib/duration.ts";
import { type Sandbox, type SandboxOptions, startSandbox } from "../../../src/sandbox/sandbox.ts";
import { SOON, until as untilSo } from "../../support/until.ts";

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The parsed body; assertions look into it. */
  readonly body: Record<string, unknown>;
}

export interface Caller {
  get(path: string): Promise<Answer>;
  post(path: string, body?: unknown, init?: RequestInit): Promise<Answer>;
}

export interface TestNode extends Caller {
  readonly id: string;
  readonly token: string;
  claim(body?: Record<string, unknown>): Promise<Answer>;
  /** One call of a task's life: "started", "logs", "completed", "control" … */
  call(taskId: string, step: string, body?: unknown): Promise<Answer>;
}

/** Throttling is off unless a test asks for it. */
export const sandboxWith = (options: SandboxOptions = {}): Promise<Sandbox> =>
  startSandbox({ throttle: false, operatorToken: "operator-token-of-the-tests-0001", ...options });

export function caller(sandbox: Sandbox, headers: Record<string, string> = {}): Caller {
  const send = async (path: string, init: RequestInit): Promise<Answer> => {
    const response = await fetch(`${sandbox.url}/api/v1${path}`, init);
    const body = (await response.json()) as Record<string, unknown>;
    return { status: response.status, headers: response.headers, body };
  };
  return {
    get: (path) => send(path, { headers }),
    post: (path, body = {}, init = {}) =>
      send(path, {
        method: "POST",
        body: JSON.stringify(body),
        ...init,
        headers: {
          "content-type": "application/json",
          ...headers,
          ...Object.fromEntries(new Headers(init.headers)),
        },
      }),
  };
}

/** Enrolls `hostname` the way an agent does. */
export async function enrolled(sandbox: Sandbox, hostname = "demo-1"): Promise<TestNode> {
  const started = await caller(sandbox).post("/enrollments/initiate", { email: "ops@example.com", hostname });
  const token = String(started.body["token"]);
  sandbox.approve({ token });
  const { body } = await caller(sandbox).get(`/enrollments/${token}`);
  return nodeCaller(sandbox, String(body["nodeId"]), String(body["agentToken"]));
}

export function nodeCaller(sandbox: Sandbox, id: string, token: string): TestNode {
  const calls = caller(sandbox, { authorization: `Bearer ${token}`, "x-agent-node-id": id });
  return {
    id,
    token,
    ...calls,
    claim: (body = { waitMs: 0 }) => calls.post("/agent/tasks/claim", body),
    call: (taskId, step, body) =>
      step === "control"
        ? calls.get(`/agent/tasks/${taskId}/control`)
        : calls.post(`/agent/tasks/${taskId}/${step}`, body),
  };
}

/** Sends a claim that finds no task, and resolves when the server lets it wait. */
export async function waitingClaim(
  sandbox: Sandbox,
  node: TestNode,
  init: RequestInit = {},
): Promise<{ readonly answer: Promise<Answer> }> {
  // The root access that it reports is how to see that it has arrived.
  const lastError = `claim ${crypto.randomUUID()}`;
  const rootAccess = { appliedProfile: "off", lastError };
  const answer = node.post("/agent/tasks/claim", { waitMs: 30_000, rootAccess }, init);
  answer.catch(() => {}); // Its failure is for the test that awaits it.
  await until(() => sandbox.node(node.id).root_access.last_error === lastError);
  return { answer };
}

/** A task in the state a test wants to begin with. */
export async function taskIn(
  state: "queued" | "accepted" | "running" | "success" | "failed" | "cancelled",
  sandbox: Sandbox,
  node: TestNode,
): Promise<string> {
  const { id } = sandbox.createTask({ node: node.id, payload: { command: "true" } });
  if (state === "queued") return id;
  await node.claim();
  if (state === "accepted") return id;
  await node.call(id, "started");
  if (state !== "running") await node.call(id, "completed", { status: state });
  return id;
}

/** Waits until `holds`, which says itself what it is. */
export const until = (holds: () => boolean | Promise<boolean>, within: Duration = SOON): Promise<void> =>
  untilSo(holds.toString(), holds, within);

export const uuid = "11111111-2222-4333-8444-555555555555";
