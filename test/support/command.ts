// A command of noderax-agent's as a process of its own, in a directory without a configuration, on a machine without a sandbox.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Duration, seconds } from "../../src/lib/duration.ts";
import { until } from "./until.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const PATIENCE: Duration = seconds(60);

export interface Command extends AsyncDisposable {
  out(): string;
  notes(): string;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when what it has written so far holds this. */
  says(text: string | RegExp): Promise<void>;
  ended(): Promise<{ readonly code: number; readonly out: string; readonly notes: string }>;
}

export function command(args: readonly string[], env: Readonly<Record<string, string>> = {}): Command {
  const directory = mkdtempSync(join(tmpdir(), "noderax-command-"));
  const child = Bun.spawn([process.execPath, "--no-env-file", MAIN, ...args], {
    cwd: directory,
    env: { PATH: process.env["PATH"] ?? "", HOME: directory, TMPDIR: directory, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  // Its end, not the test's: not every test disposes of a command that it has seen to its end.
  const exited = child.exited.finally(() => rmSync(directory, { recursive: true, force: true }));
  let [out, notes] = ["", ""];
  const hear = async (stream: ReadableStream<Uint8Array>, add: (text: string) => void): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const bytes of stream) add(decoder.decode(bytes, { stream: true }));
  };
  const heard = Promise.all([
    hear(child.stdout, (text) => (out += text)),
    hear(child.stderr, (text) => (notes += text)),
  ]);
  return {
    out: () => out,
    notes: () => notes,
    kill: (signal) => child.kill(signal),
    says: (text) =>
      until(
        `it says ${String(text)}`,
        () => out.search(text) >= 0,
        PATIENCE,
        () => `\n${out}\n${notes}`,
      ),
    async ended() {
      const code = await exited;
      await heard;
      return { code, out, notes };
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
