// A whole small world of executables: a machine with a directory of its own, a sandbox on it, nodes enrolled in it.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type RunOptions,
  type RunResult,
  type RunningBinary,
  runBinary,
  startBinary,
  temporaryDirectory,
} from "./binary.ts";
import { eventually as until } from "./until.ts";

export { until };

/** Everything started on it works in its directory and knows no other `/tmp`: no sandbox of somebody else is found. */
export interface Machine extends Disposable {
  readonly path: string;
  at(name: string): string;
  /** Writes text, or a document as JSON, mode 0600. */
  write(name: string, content: string | object): string;
  read(name: string): string;
  has(name: string): boolean;
  run(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  start(args: readonly string[], options?: RunOptions): RunningBinary;
}

export function machine(): Machine {
  const directory = temporaryDirectory();
  // Tasks of a root agent run as another user, who must be able to reach what a test gives them.
  chmodSync(directory.path, 0o755);
  const at = (name: string): string => join(directory.path, name);
  mkdirSync(at("work"));
  mkdirSync(at("tmp"));
  const here = ({ env, ...options }: RunOptions): RunOptions => ({
    cwd: at("work"),
    ...options,
    env: { TMPDIR: at("tmp"), ...env },
  });
  return {
    path: directory.path,
    at,
    write(name, content) {
      const text = typeof content === "string" ? content : JSON.stringify(content, null, 2);
      writeFileSync(at(name), text, { mode: 0o600 });
      return at(name);
    },
    read: (name) => readFileSync(at(name), "utf8"),
    has: (name) => existsSync(at(name)),
    run: (args, options = {}) => runBinary(args, here(options)),
    start: (args, options = {}) => startBinary(args, here(options)),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

export interface TaskSeen {
  readonly id: string;
  readonly status: string;
  readonly output: string | null;
  readonly result: Readonly<Record<string, unknown>> | null;
}

export interface RowSeen {
  readonly level: string;
  readonly line: string;
  readonly createdAt: string;
}

/** The operator's side of a sandbox in another process. */
export interface Operator {
  readonly url: string;
  readonly token: string;
  call(method: string, path: string, body?: unknown): Promise<unknown>;
  /** Queues a shell command and returns the task's id. */
  order(node: string, command: string, payload?: object): Promise<string>;
  task(id: string): Promise<TaskSeen>;
  tasks(): Promise<TaskSeen[]>;
  /** All log rows, one below the other. */
  log(id: string): Promise<string>;
  /** Waits until the task has one of the states. */
  sees(id: string, ...states: string[]): Promise<TaskSeen>;
}

export function operatorOf(url: string, token: string, ca?: string): Operator {
  async function call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`${url}/sandbox/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(ca === undefined ? {} : { tls: { ca } }),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  }
  const task = async (id: string): Promise<TaskSeen> => (await call("GET", `/tasks/${id}`)) as TaskSeen;
  return {
    url,
    token,
    call,
    async order(node, command, payload = {}) {
      const answer = await call("POST", "/tasks", { node, payload: { command, ...payload } });
      return (answer as TaskSeen).id;
    },
    task,
    tasks: async () => (await call("GET", "/tasks")) as TaskSeen[],
    async log(id) {
      const rows = (await call("GET", `/tasks/${id}/logs?all=1`)) as RowSeen[];
      return rows.map(({ line }) => line).join("\n");
    },
    sees: (id, ...states) =>
      until(`task ${id} ${states.join(" or ")}`, async () => {
        const seen = await task(id);
        return states.includes(seen.status) ? seen : undefined;
      }),
  };
}

/** A `sandbox` process. `args` beyond `--json --port 0`. */
export async function startSandbox(
  host: Machine,
  { args = [], ca }: { readonly args?: readonly string[]; readonly ca?: string } = {},
): Promise<Operator & AsyncDisposable & { readonly process: RunningBinary }> {
  const process = host.start(["sandbox", "--json", "--port", "0", ...args]);
  const { url, operator_token } = JSON.parse(await process.line(/^\{/)) as Record<string, string>;
  const operator = operatorOf(url ?? "", operator_token ?? "", ca);
  return { ...operator, process, [Symbol.asyncDispose]: () => process[Symbol.asyncDispose]() };
}

/** A `dev` process, ready. */
export async function startDev(
  host: Machine,
  options: RunOptions = {},
): Promise<Operator & AsyncDisposable & { readonly process: RunningBinary; readonly ready: string }> {
  const process = host.start(["dev", "--json", "--port", "0"], options);
  const ready = await process.line(/^\{/);
  const { url, operator_token } = JSON.parse(ready) as Record<string, string>;
  const operator = operatorOf(url ?? "", operator_token ?? "");
  return { ...operator, process, ready, [Symbol.asyncDispose]: () => process[Symbol.asyncDispose]() };
}

/** Enrolls the machine's working directory as `name`, with a bootstrap token. Configuration and state stand in work/. */
export async function enrolled(host: Machine, sandbox: Operator, name: string): Promise<void> {
  const install = (await sandbox.call("POST", "/node-installs", { node_name: name })) as { token: string };
  const args = ["enroll", "--api-url", sandbox.url, "--hostname", name, "--bootstrap-token", "-"];
  const { code, stderr } = await host.run(args, { stdin: install.token });
  if (code !== 0) throw new Error(`enroll exited with ${code}: ${stderr}`);
}

/** True while the process runs; a zombie does not. */
export function runs(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}
