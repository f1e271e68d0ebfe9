// A person at a pseudo-terminal: what they type, what they are shown, and how they change their window.
import { dirname } from "node:path";
import { binary } from "./binary.ts";
import { type Machine, until } from "./dev.ts";

export interface Person extends Disposable {
  /** Everything shown, control sequences included. */
  screen(): string;
  /** The same without colours and movements. */
  text(): string;
  type(keys: string): void;
  /** From now on only what comes is looked at. */
  forgets(): void;
  shows(text: string | RegExp): Promise<void>;
  resizes(cols: number, rows: number): void;
  readonly exited: Promise<number>;
}

/** The executable, or another `file`, in a terminal of 100 × 30. */
export function inTerminal(host: Machine, args: readonly string[], file: string = binary): Person {
  let screen = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn([file, ...args], {
    cwd: host.at("work"),
    env: {
      PATH: `${dirname(binary)}:/usr/bin:/bin`,
      HOME: process.env["HOME"] ?? "/nonexistent",
      TMPDIR: host.at("tmp"),
      TERM: "xterm-256color",
      LANG: "C.UTF-8",
    },
    terminal: {
      cols: 100,
      rows: 30,
      data: (_, bytes) => void (screen += decoder.decode(bytes, { stream: true })),
    },
  });
  return {
    screen: () => screen,
    text: () => Bun.stripANSI(screen),
    type: (keys) => void child.terminal?.write(keys),
    forgets: () => void (screen = ""),
    async shows(text) {
      const shown = (): string => Bun.stripANSI(screen);
      try {
        await until("", () => (typeof text === "string" ? shown().includes(text) : text.test(shown())));
      } catch {
        throw new Error(`the terminal does not show ${text}; it shows ${JSON.stringify(screen)}`);
      }
    },
    resizes: (cols, rows) => child.terminal?.resize(cols, rows),
    exited: child.exited,
    [Symbol.dispose]() {
      child.kill("SIGKILL");
      child.terminal?.close();
    },
  };
}
