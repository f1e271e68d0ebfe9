// The real agent against a sandbox, in this process or in one that can be killed, with sentences to ask it things.
import { Database } from "bun:sqlite";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Agent, databasePath, runsPath } from "../../src/agent/agent.ts";
import { type Duration, seconds } from "../../src/lib/duration.ts";
import type { Status } from "../../src/agent/status.ts";
import type { TaskRequest } from "../../src/sandbox/operations.ts";
import type { Sandbox, SandboxOptions } from "../../src/sandbox/sandbox.ts";
import { enrolled } from "../unit/sandbox/harness.ts";
import { type AgentPlace, type AgentRunner, ChildAgent, InProcessAgent } from "./agent-runner.ts";
import { endCommands } from "./processes.ts";
import { type ControlPlane, type Gateway, controlPlane, gateway } from "./sandbox.ts";
import { type Scribble, scribble } from "./scribble.ts";
import { TaskHandle } from "./task.ts";
import { until } from "./until.ts";

/** Of a whole test. Every file sets it: what the preload sets holds for the first file only (Bun 1.4.5). */
export const TEST_LIMIT = seconds(150);
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
export abstract class Machine implements AgentPlace, AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "noderax-contract-"));
  readonly configFile = join(this.directory, "config.json");
  readonly stateDirectory = join(this.directory, "state");
  readonly stateFile = join(this.stateDirectory, "agent_identity.json");
  /** What the agent has logged. */
  readonly log: string[] = [];
  protected readonly options: NodeOptions;
  protected abstract readonly runner: AgentRunner;
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

  /** In a process of its own it is only begun: `status` shows when it is there. */
  starts(): Promise<void> {
    return this.runner.start();
  }

  /** The status document of the running agent. */
  status(): Promise<Status> {
    return this.runner.status();
  }

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
    return `\nthe log of the agent:\n${this.log.slice(-40).join("\n")}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runner[Symbol.asyncDispose]();
    endCommands(runsPath(this.stateDirectory));
    this.#gateway?.[Symbol.dispose]();
    await this.#plane?.[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The agent in this process. */
export class AgentNode extends Machine {
  protected readonly runner = new InProcessAgent(this);

  get agent(): Agent {
    return this.runner.agent;
  }

  /** In order, within `grace`; tasks go on. */
  stops(grace?: Duration): Promise<void> {
    return this.runner.stop(grace);
  }
}

/** The agent in a process of its own, as the service unit runs it. */
export class ProcessNode extends Machine {
  protected readonly runner = new ChildAgent(this, this.options.env);

  get pid(): number {
    return this.runner.pid;
  }

  /** SIGKILL: a crash. */
  dies(): Promise<void> {
    return this.runner.kill();
  }

  /** Resolves with the exit status. */
  ends(signal?: "SIGTERM" | "SIGINT"): Promise<number | null> {
    return this.runner.end(signal);
  }

  /** Resolves with the exit status of an agent that ends by itself. */
  exits(): Promise<number | null> {
    return this.runner.exited();
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
