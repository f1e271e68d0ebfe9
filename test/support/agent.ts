// The real agent against a sandbox, in this process or in one that can be killed, with sentences to ask it things.
import { Database } from "bun:sqlite";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Agent, databasePath, runsPath, startAgent } from "../../src/agent/agent.ts";
import { loadConfig } from "../../src/config/load.ts";
import { type Duration, milliseconds, seconds } from "../../src/lib/duration.ts";
import { askStatus } from "../../src/agent/control-socket.ts";
import type { Status } from "../../src/agent/status.ts";
import { createLog } from "../../src/platform/log.ts";
import type { TaskRequest } from "../../src/sandbox/operations.ts";
import type { Sandbox, SandboxOptions } from "../../src/sandbox/sandbox.ts";
import { enrolled } from "../unit/sandbox/harness.ts";
import { endCommands } from "./processes.ts";
import { type ControlPlane, type Gateway, controlPlane, gateway } from "./sandbox.ts";
import { type Scribble, scribble } from "./scribble.ts";
import { TaskHandle } from "./task.ts";
import { SOON, until } from "./until.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
/** Of a whole test. Every file sets it: what the preload sets holds for the first file only (Bun 1.4.5). */
export const TEST_LIMIT = seconds(60);
export const NODE = "node-1";
export const asRoot = process.getuid?.() === 0;

export interface NodeOptions {
  readonly sandbox?: SandboxOptions;
  /** Keys of the agent's configuration file. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** How the configuration writes the control plane's address. */
  readonly named?: (url: string) => string;
  /** Puts a gateway between agent and sandbox. */
  readonly watched?: boolean;
  /** False: the machine has no identity yet. */
  readonly enrolled?: boolean;
  /** False: the test starts the agent itself. */
  readonly started?: boolean;
  /** Environment of the agent's process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A machine with a control plane of its own, all in one temporary directory. */
export abstract class Machine {
  readonly directory = mkdtempSync(join(tmpdir(), "noderax-contract-"));
  readonly configFile = join(this.directory, "config.json");
  readonly stateDirectory = join(this.directory, "state");
  readonly stateFile = join(this.stateDirectory, "agent_identity.json");
  /** What the agent has logged. */
  readonly log: string[] = [];
  protected readonly options: NodeOptions;
  #plane: ControlPlane | undefined;
  #gateway: Gateway | undefined;

  constructor(options: NodeOptions) {
    this.options = options;
  }

  get plane(): ControlPlane {
    if (this.#plane === undefined) throw new Error("there is no sandbox yet");
    return this.#plane;
  }

  /** The sandbox that runs now. */
  get sandbox(): Sandbox {
    return this.plane.sandbox;
  }

  get gateway(): Gateway {
    if (this.#gateway === undefined) throw new Error("this machine was not made with `watched`");
    return this.#gateway;
  }

  abstract starts(): Promise<void>;
  /** What the running agent says of itself. */
  abstract status(): Promise<Status>;
  /** Ends the agent, whatever it does. */
  protected abstract end(): Promise<void>;

  async prepare(): Promise<void> {
    const { sandbox, settings, watched, started, named = (url) => url } = this.options;
    // Tasks of another user look for their files in here; what is ours lies in directories of mode 0700.
    chmodSync(this.directory, 0o711);
    mkdirSync(join(this.directory, "files"));
    chmodSync(join(this.directory, "files"), 0o777);
    this.#plane = await controlPlane(this.directory, sandbox);
    if (watched) this.#gateway = gateway(this.plane.url);
    const url = this.#gateway?.url ?? this.plane.url;
    this.configures({
      api_url: named(url),
      state_file: this.stateFile,
      task_user: "nobody",
      task_poll_interval: "2s",
      task_kill_grace: "500ms",
      // Commands print pids by which tests find their processes; isolation.test.ts has the default.
      task_isolation: "off",
      ...settings,
    });
    if (this.options.enrolled !== false) await this.enrolls();
    if (started !== false) await this.starts();
  }

  configures(document: Readonly<Record<string, unknown>>): void {
    writeFileSync(this.configFile, JSON.stringify(document), { mode: 0o600 });
  }

  async enrolls(): Promise<void> {
    const { id, token } = await enrolled(this.sandbox, NODE);
    this.hasIdentity({ node_id: id, agent_token: token });
  }

  hasIdentity(document: Readonly<Record<string, unknown>>): void {
    mkdirSync(this.stateDirectory, { recursive: true, mode: 0o700 });
    writeFileSync(this.stateFile, JSON.stringify(document), { mode: 0o600 });
  }

  /** Queues a command, or whatever the request says. */
  runs(command: string | Partial<TaskRequest>, payload: Record<string, unknown> = {}): TaskHandle {
    const request = typeof command === "string" ? { payload: { command, ...payload } } : command;
    return this.taskWith(this.sandbox.createTask({ node: NODE, ...request }).id);
  }

  taskWith(id: string): TaskHandle {
    return new TaskHandle(id, this);
  }

  /** A file that tasks can write to. */
  file(name: string): Scribble {
    return scribble(join(this.directory, "files", name));
  }

  async statusBecomes(what: string, holds: (status: Status) => boolean, within?: Duration): Promise<Status> {
    let status: Status | undefined;
    await until(
      what,
      async () => {
        status = await this.status();
        return holds(status);
      },
      within,
      () => JSON.stringify(status, null, 1) + this.story(),
    );
    return status ?? this.status();
  }

  isOnline(within?: Duration): Promise<void> {
    return until(
      "online",
      () => this.sandbox.node(NODE).status === "online",
      within,
      () => this.story(),
    );
  }

  /** The agent's own state.db, while no agent runs. */
  edits<T>(change: (database: Database) => T): T {
    const database = new Database(databasePath(this.stateDirectory), { strict: true });
    try {
      return change(database);
    } finally {
      database.close();
    }
  }

  story(): string {
    return `\nthe agent said:\n${this.log.slice(-40).join("\n")}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    endCommands(runsPath(this.stateDirectory));
    this.#gateway?.[Symbol.dispose]();
    await this.#plane?.[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The agent in this process. */
export class AgentNode extends Machine {
  #agent: Agent | undefined;

  get agent(): Agent {
    if (this.#agent === undefined) throw new Error("the agent does not run");
    return this.#agent;
  }

  async starts(): Promise<void> {
    const { settings } = await loadConfig({ configFile: this.configFile, env: {}, cwd: this.directory });
    const { api_url: apiUrl = "" } = settings;
    const log = createLog({ level: "debug", format: "json", write: (line) => void this.log.push(line) });
    this.#agent = await startAgent({ settings: { ...settings, api_url: apiUrl }, log, warnings: [] });
  }

  /** In order, within `grace`; tasks go on. */
  async stops(grace: Duration = seconds(10)): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    await agent?.stop(grace);
  }

  status(): Promise<Status> {
    return Promise.resolve(this.agent.status());
  }

  protected end(): Promise<void> {
    return this.stops(milliseconds(0));
  }
}

/** The agent in a process of its own, as the service unit runs it. */
export class ProcessNode extends Machine {
  #child: Bun.Subprocess<"ignore", "pipe", "pipe"> | undefined;

  get pid(): number {
    if (this.#child === undefined) throw new Error("the agent does not run");
    return this.#child.pid;
  }

  /** Without waiting for anything: `status` tells when it is there. */
  starts(): Promise<void> {
    const child = Bun.spawn([process.execPath, "--no-env-file", MAIN, "run", "--config", this.configFile], {
      cwd: this.directory,
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: process.env["HOME"] ?? "",
        TMPDIR: this.directory,
        ...this.options.env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    void this.#listen(child.stdout);
    void this.#listen(child.stderr);
    return Promise.resolve();
  }

  async #listen(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) this.log.push(decoder.decode(bytes, { stream: true }).trimEnd());
  }

  /** SIGKILL: a crash. */
  async dies(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    child?.kill("SIGKILL");
    await child?.exited;
  }

  /** Resolves with the exit status. */
  async ends(signal: "SIGTERM" | "SIGINT" = "SIGTERM"): Promise<number | null> {
    const child = this.#child;
    child?.kill(signal);
    await child?.exited;
    this.#child = undefined;
    return child?.exitCode ?? null;
  }

  /** Resolves with the exit status of an agent that ends by itself. */
  async exits(): Promise<number | null> {
    await this.#child?.exited;
    return this.#child?.exitCode ?? null;
  }

  async status(): Promise<Status> {
    let status: Status | undefined;
    await until(
      "an agent answers",
      async () => (status = await askStatus(this.stateDirectory)) !== undefined,
      SOON,
      () => this.story(),
    );
    if (status === undefined) throw new Error("no agent answers");
    return status;
  }

  protected end(): Promise<void> {
    return this.dies();
  }
}

export async function enrolledAgent(options: NodeOptions = {}): Promise<AgentNode> {
  return prepared(new AgentNode(options));
}

export async function enrolledProcess(options: NodeOptions = {}): Promise<ProcessNode> {
  return prepared(new ProcessNode(options));
}

async function prepared<M extends Machine>(machine: M): Promise<M> {
  try {
    await machine.prepare();
    return machine;
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
}
