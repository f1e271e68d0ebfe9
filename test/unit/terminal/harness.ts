// Terminals on real ptys, driven as the control plane drives them.
import type { Database } from "bun:sqlite";
import { randomUUID } from "node:crypto";
import { readdirSync, readlinkSync } from "node:fs";
import { seconds } from "../../../src/lib/duration.ts";
import {
  type Account,
  currentAccount,
  findAccount,
  isRoot,
  runnerFor,
} from "../../../src/platform/account.ts";
import { openDatabase } from "../../../src/platform/database.ts";
import { type Log, silent } from "../../../src/platform/log.ts";
import { isAlive, identify } from "../../../src/platform/processes.ts";
import type { RootProfile } from "../../../src/protocol/noderax/root-access.ts";
import { terminalMigration } from "../../../src/terminal/session-store.ts";
import {
  type TerminalPorts,
  type TerminalSettings,
  type Terminals,
  createTerminals,
} from "../../../src/terminal/terminals.ts";
import { until } from "../../support/until.ts";
import { type TestChannel, testChannel } from "./channel.ts";

/** Where nothing else is said: ourselves, or as root a user who is nobody. */
export const user: Account = (isRoot() ? findAccount("nobody") : undefined) ?? currentAccount();

export interface Shell {
  readonly id: string;
  type(text: string): void;
  /** Types a line. Resolves with what its command says. */
  run(command: string): Promise<string>;
  sees(text: string | RegExp): Promise<void>;
  resize(cols: number, rows: number): void;
  stop(reason?: string | null): void;
  text(): string;
  /** The body of `terminal.exited`. */
  exited(): Promise<Record<string, unknown>>;
}

export interface Node extends AsyncDisposable {
  readonly channel: TestChannel;
  readonly terminals: Terminals;
  readonly database: Database;
  readonly log: string[];
  /** Puts another root-access profile in force. */
  setProfile(profile: RootProfile): void;
  /** Starts a terminal without waiting for anything. */
  start(options?: object): Shell;
  /** Starts one and waits for the first prompt. */
  open(options?: object): Promise<Shell>;
}

export interface NodeOptions extends Partial<Omit<TerminalPorts, "settings">> {
  readonly settings?: Partial<TerminalSettings>;
  readonly profile?: RootProfile;
  readonly veto?: string;
}

const PROMPT = "❯ ";

export function terminalNode(options: NodeOptions = {}): Node {
  const { settings, profile: firstProfile, veto, ...ports } = options;
  let profile = firstProfile;
  const listeners: (() => void)[] = [];
  const channel = (ports.channel as TestChannel | undefined) ?? testChannel();
  const database = ports.database ?? openDatabase(":memory:", [terminalMigration]);
  const lines: string[] = [];
  const say = (part: string, event: string, fields?: object): void =>
    void lines.push(`${part} ${event} ${JSON.stringify(fields)}`);
  const log: Log = { ...silent, info: say, warn: say, error: say, debug: say };
  const terminals = createTerminals({
    channel,
    database,
    rootAccess: {
      profile: () => profile ?? "off",
      refusal: () => veto,
      onChange: (listener) => void listeners.push(listener),
    },
    runners: { task: runnerFor(user), root: runnerFor(currentAccount()) },
    view: async () => "shared",
    openFiles: undefined,
    log,
    ...ports,
    settings: {
      allow_terminal: true,
      max_terminals: 32,
      terminal_idle_limit: seconds(3_600),
      terminal_max_length: seconds(3_600),
      terminal_kill_grace: seconds(1),
      ...settings,
    },
  });

  function start(body: object = {}): Shell {
    const id = randomUUID();
    let mark = 0;
    const butShows = (): string => `, but: ${channel.text(id).slice(-300)}`;
    const shell: Shell = {
      id,
      type: (text) =>
        channel.push("terminal.input", { sessionId: id, payload: Buffer.from(text).toString("base64") }),
      async run(command) {
        const from = channel.text(id).length;
        const [begin, end] = [`<${++mark}:${process.pid}`, `${mark}:${process.pid}>`];
        // The echo of the line shows the halves of both marks apart.
        shell.type(`echo '<${mark}:''${process.pid}'; ${command}; echo '${mark}:''${process.pid}>'\n`);
        const shown = (): string => channel.text(id).slice(from).replaceAll("\r\n", "\n");
        await until(`the end of "${command}"`, () => shown().includes(end), undefined, butShows);
        const between = shown().slice(shown().indexOf(begin) + begin.length, shown().indexOf(end));
        return between.replaceAll("\u001B[?2004l\r", "").replaceAll("\u001B[?2004h", "").trim();
      },
      sees: (text) =>
        until(
          String(text),
          () => (typeof text === "string" ? shell.text().includes(text) : text.test(shell.text())),
          undefined,
          butShows,
        ),
      resize: (cols, rows) => channel.push("terminal.resize", { sessionId: id, cols, rows }),
      stop: (reason = null) => channel.push("terminal.stop", { sessionId: id, reason }),
      text: () => channel.text(id),
      async exited() {
        await until("terminal.exited", () => channel.of("terminal.exited", id).length > 0);
        return channel.of("terminal.exited", id)[0] ?? {};
      },
    };
    channel.push("terminal.start", { type: "terminal.start", sessionId: id, ...body });
    return shell;
  }

  return {
    channel,
    terminals,
    database,
    log: lines,
    start,
    async open(body) {
      const shell = start(body);
      await until(
        "it opens",
        () => channel.status(shell.id) === "open",
        undefined,
        () => `, but: ${lines.join("\n")}`,
      );
      // Short lines and no line editor: what comes back is what the programs say.
      shell.type(
        `PS1='${PROMPT}' PS2=; stty -echo; bind 'set enable-bracketed-paste off' 2>/dev/null; echo rea''dy\n`,
      );
      await shell.sees("ready\r\n");
      shell.type("stty echo\n");
      return shell;
    },
    setProfile(next) {
      profile = next;
      for (const listener of listeners) listener();
    },
    async [Symbol.asyncDispose]() {
      await terminals.stop(seconds(3));
    },
  };
}

/** Descriptors of ours that lead to a terminal, or to a process on one. */
export const openTerminals = (): number =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return /pts|ptmx|pidfd/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false;
    }
  }).length;

export const alive = (pid: number): boolean => {
  const program = identify(pid);
  return program !== undefined && isAlive(program);
};
