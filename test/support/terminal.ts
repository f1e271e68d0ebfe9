// An operator at a terminal of a node under test: types, reads what came frame by frame, and knows what of it still runs.
import { readFileSync, readdirSync } from "node:fs";
import type { Duration } from "../../src/lib/duration.ts";
import type { TerminalDocument } from "../../src/sandbox/documents.ts";
import type { TerminalRequest } from "../../src/sandbox/operations.ts";
import type { AgentNode, ProcessNode } from "./agent.ts";
import { NODE } from "./agent.ts";
import { SOON, until } from "./until.ts";

export type TestNode = AgentNode | ProcessNode;

/** The session of the node's agent is online; with `times`, for the so manieth time. */
export async function isConnected(node: TestNode, times = 1): Promise<void> {
  await node.statusBecomes("its session is online", ({ noderax }) => {
    const session = noderax?.session;
    return session?.state === "online" && session.reconnects >= times - 1;
  });
  // The control plane knows it a moment earlier than the agent: its answer is what makes it online.
  await node.isOnline();
}

/** Asks for a terminal and waits for nothing. */
export function asks(node: TestNode, request: Partial<TerminalRequest> = {}): Console {
  return new Console(node, node.sandbox.openTerminal({ node: NODE, ...request }).id);
}

/**
 * A shell that shows nothing but what its programs write: no echo, no prompt, line feeds as they are. What was shown until
 * then is forgotten.
 */
export async function opens(node: TestNode, request: Partial<TerminalRequest> = {}): Promise<Console> {
  await isConnected(node);
  const console = asks(node, request);
  await console.isOpen();
  await console.quiets();
  return console;
}

/** Disposing of it ends what the test, or a killed agent, has left running. */
export class Console implements Disposable {
  #after = 0;
  #frames: Buffer[] = [];
  #text = "";
  #marks = 0;

  constructor(
    readonly node: TestNode,
    readonly id: string,
  ) {}

  get document(): TerminalDocument {
    return this.node.sandbox.terminal(this.id);
  }

  types(keys: string | Uint8Array): void {
    this.node.sandbox.typeInto(this.id, keys);
  }

  async quiets(): Promise<void> {
    this.types("PS1= PS2=; bind 'set enable-bracketed-paste off'; stty -echo -opost; echo qui''et\n");
    await this.shows("quiet\n");
    this.forgets();
  }

  /** The frames of output, as the agent cut them. */
  frames(): readonly Buffer[] {
    for (const { seq, direction, payload } of this.node.sandbox.transcript(this.id, { after: this.#after })) {
      this.#after = seq;
      if (direction === "input") continue;
      const frame = Buffer.from(payload, "base64");
      this.#frames.push(frame);
      this.#text += frame.toString();
    }
    return this.#frames;
  }

  bytes(): Buffer {
    return Buffer.concat(this.frames());
  }

  /** Each frame decoded by itself, as the transcript's readers do. */
  text(): string {
    this.frames();
    return this.#text;
  }

  forgets(): void {
    this.frames();
    this.#frames = [];
    this.#text = "";
  }

  /** Types a line. Resolves with what its command says. */
  async runs(command: string): Promise<string> {
    const [begin, end] = [`<${++this.#marks}:`, `:${this.#marks}>`];
    const from = this.text().length;
    this.types(`printf '<%s' ${this.#marks}:; ${command}; printf ':%s' '${this.#marks}>'\n`);
    const shown = (): string => this.text().slice(from);
    await this.waits(`the end of ${command}`, () => shown().includes(end));
    return shown()
      .slice(shown().indexOf(begin) + begin.length, shown().lastIndexOf(end))
      .trim();
  }

  shows(text: string | RegExp, within?: Duration): Promise<void> {
    return this.waits(
      `it shows ${String(text)}`,
      () => (typeof text === "string" ? this.text().includes(text) : text.test(this.text())),
      within,
    );
  }

  isOpen(): Promise<void> {
    return this.waits("it is open", () => {
      const { status, closed_reason: reason } = this.document;
      if (status === "closed" || status === "failed") throw new Error(`it is ${status}: ${reason}`);
      return status === "open";
    });
  }

  async ends(status: "closed" | "failed" = "closed", within?: Duration): Promise<TerminalDocument> {
    await this.waits(`it is ${status}`, () => this.document.status === status, within);
    return this.document;
  }

  /** Whatever was started in it and still runs, wherever it went. */
  processes(): number[] {
    const cookie = `NODERAX_TERMINAL=${this.id}`;
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && environment(name).includes(cookie))
      .map(Number);
  }

  isGone(within?: Duration): Promise<void> {
    return this.waits("nothing of it runs any more", () => this.processes().length === 0, within);
  }

  waits(what: string, holds: () => boolean, within: Duration = SOON): Promise<void> {
    return until(what, holds, within, () => this.#story());
  }

  #story(): string {
    const { status, closed_reason: reason, exit_code: code } = this.document;
    const shown = JSON.stringify(this.text().slice(-500));
    return `it is ${status} (${reason}, ${code}) and shows ${shown}${this.node.story()}`;
  }

  [Symbol.dispose](): void {
    for (const pid of this.processes()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Ended by itself.
      }
    }
  }
}

/** Empty for a process of somebody else, a zombie, and one that is gone. */
function environment(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
  } catch {
    return [];
  }
}
