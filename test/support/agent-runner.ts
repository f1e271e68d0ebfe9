// Starts, asks and ends the agent of a node under test: in this process, or in one of its own that can be killed.
import { join } from "node:path";
import { type Agent, startAgent } from "../../src/agent/agent.ts";
import { askStatus } from "../../src/agent/control-socket.ts";
import type { Status } from "../../src/agent/status.ts";
import { loadConfig } from "../../src/config/load.ts";
import { AgentError } from "../../src/lib/agent-error.ts";
import { type Duration, milliseconds, seconds } from "../../src/lib/duration.ts";
import { createLog } from "../../src/platform/log.ts";
import { SOON, eventually } from "./until.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** The machine of an agent. */
export interface AgentPlace {
  /** Its working directory, and TMPDIR of a process of its own. */
  readonly directory: string;
  readonly configFile: string;
  readonly stateDirectory: string;
  /** Receives every line that is logged. */
  readonly log: string[];
  /** What the agent logged last, for the message of a failure. */
  story(): string;
}

/** Disposing of it ends the agent without delay, whatever it does. */
export interface AgentRunner extends AsyncDisposable {
  start(): Promise<void>;
  status(): Promise<Status>;
}

/** Runs the agent in this process. */
export class InProcessAgent implements AgentRunner {
  readonly #place: AgentPlace;
  #agent: Agent | undefined;

  constructor(place: AgentPlace) {
    this.#place = place;
  }

  /** Throws while none runs. */
  get agent(): Agent {
    if (this.#agent === undefined) throw new Error("the agent does not run");
    return this.#agent;
  }

  async start(): Promise<void> {
    const { configFile, directory, log: lines } = this.#place;
    const { settings } = await loadConfig({ configFile, env: {}, cwd: directory });
    const log = createLog({ level: "debug", format: "json", write: (line) => void lines.push(line) });
    this.#agent = await startAgent({ settings, nodeNameChosen: true, log, warnings: [] });
  }

  /** In order, within `grace`; tasks and containers run on. */
  async stop(grace: Duration = seconds(10)): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    await agent?.stop(grace);
  }

  status(): Promise<Status> {
    return Promise.resolve(this.agent.status());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop(milliseconds(0));
  }
}

/** Runs the agent in a process of its own, as the service unit does. */
export class ChildAgent implements AgentRunner {
  readonly #place: AgentPlace;
  readonly #env: Readonly<Record<string, string>>;
  #child: Bun.Subprocess<"ignore", "pipe", "pipe"> | undefined;

  constructor(place: AgentPlace, env: Readonly<Record<string, string>> = {}) {
    this.#place = place;
    this.#env = env;
  }

  /** Throws while none runs. */
  get pid(): number {
    if (this.#child === undefined) throw new Error("the agent does not run");
    return this.#child.pid;
  }

  /** Waits for nothing: `status` shows when it is there. */
  start(): Promise<void> {
    const { directory, configFile } = this.#place;
    const child = Bun.spawn([process.execPath, "--no-env-file", MAIN, "run", "--config", configFile], {
      cwd: directory,
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: process.env["HOME"] ?? "",
        TMPDIR: directory,
        ...this.#env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) void this.#collect(stream);
    return Promise.resolve();
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) this.#place.log.push(decoder.decode(bytes, { stream: true }).trimEnd());
  }

  /** SIGKILL: a crash. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    child?.kill("SIGKILL");
    await child?.exited;
  }

  /** Resolves with the exit status. */
  async end(signal: "SIGTERM" | "SIGINT" = "SIGTERM"): Promise<number | null> {
    this.#child?.kill(signal);
    const code = await this.exited();
    this.#child = undefined;
    return code;
  }

  /** Resolves with the exit status of an agent that ends by itself. */
  async exited(): Promise<number | null> {
    const child = this.#child;
    await child?.exited;
    return child?.exitCode ?? null;
  }

  status(): Promise<Status> {
    // One that is too busy to answer within seconds is asked again.
    const ask = (): Promise<Status | undefined> =>
      askStatus(this.#place.stateDirectory).catch((error: unknown) => {
        if (error instanceof AgentError && error.code === "agent.silent") return undefined;
        throw error;
      });
    return eventually("an agent answers", ask, SOON, () => this.#place.story());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}
