// What a terminal feels like, and what it costs the agent: the executable, real ptys, a server without delays of its own.
import { createHash, randomBytes } from "node:crypto";
import { chmodSync } from "node:fs";
import { milliseconds, minutes, seconds } from "../../src/lib/duration.ts";
import { machine, until } from "../support/dev.ts";
import type { Bench } from "./bench.ts";
import { type Operator, type Terminal, operator, startAgent } from "./plane.ts";
import { descriptorsOf } from "../support/processes.ts";
import { growthDuring, once, settledMemory } from "./process-figures.ts";
import { elapse } from "../support/until.ts";

type Stage = { readonly host: ReturnType<typeof machine>; readonly server: Operator; readonly pid: number };

/** An agent that is online, for one measurement. */
async function onStage<T>(measure: (stage: Stage) => Promise<T>): Promise<T> {
  using host = machine();
  using server = operator();
  await using agent = startAgent(host, server);
  await server.online();
  // Awaited here: the agent is stopped when this function is left.
  return await measure({ host, server, pid: agent.pid });
}

const PROMPT = "ready> ";

/** Opens a terminal and runs a program in place of its shell, once the shell answers. */
async function opened(server: Operator, onOutput?: Parameters<Operator["open"]>[0]): Promise<Terminal> {
  const terminal = server.open(onOutput);
  await terminal.opened();
  await terminal.echo(
    `PS1='${PROMPT.replace("> ", "''> ")}'; bind 'set enable-bracketed-paste off'\n`,
    PROMPT,
  );
  return terminal;
}

const KEYS = "the quick brown fox jumps over it";
const KEY_ROUNDS = 6;

/** Single keys at the pace of a fast typist, so that nothing is awake that would sleep otherwise. */
const keystrokes = (program: string) =>
  onStage(async ({ server }) => {
    const terminal = await opened(server);
    if (program !== "") await terminal.echo(`${program}; echo st''arted; cat\n`, "started");
    const samples: number[] = [];
    for (let round = -1; round < KEY_ROUNDS; round++) {
      for (const key of KEYS) {
        const took = await terminal.echo(key, key);
        if (round >= 0) samples.push(took);
      }
      // Ctrl-U: the line is empty again.
      terminal.type("\u0015");
      await elapse(milliseconds(100));
    }
    return samples;
  });

const FILE_SIZE = 100_000_000;

/** Base64 in lines, as long as it has to be: text that nothing compresses. */
function text(): Buffer {
  const lines = randomBytes((FILE_SIZE / 4) * 3).toString("base64");
  const buffer = Buffer.from(lines, "latin1");
  for (let at = 76; at < buffer.length; at += 77) buffer[at] = 0x0a;
  return buffer;
}

/** A large file through `cat`, every frame acknowledged at once. */
const flood = once(() =>
  onStage(async ({ host, server, pid }) => {
    const file = host.at("file");
    const content = text();
    await Bun.write(file, content);
    chmodSync(file, 0o644);
    const wanted = createHash("sha256").update(content).digest("hex");
    const rates: number[] = [];
    const growth: number[] = [];
    for (let repetition = 0; repetition < 3; repetition++) {
      let take: (bytes: Buffer) => void = () => {};
      const terminal = await opened(server, (bytes) => take(bytes));
      await terminal.echo("stty -opost -echo; echo qu''iet\n", "quiet");
      const hash = createHash("sha256");
      let [missing, begun, took] = [FILE_SIZE, 0, 0];
      take = (bytes) => {
        if (missing === 0) return;
        // What comes first is a mark of its own, in the frame of the first bytes or before it.
        const from = begun === 0 ? bytes.indexOf(2) + 1 : 0;
        if (begun === 0 && from === 0) return;
        begun ||= performance.now();
        const part = bytes.subarray(from, from + missing);
        hash.update(part);
        missing -= part.length;
        if (missing === 0) took = performance.now() - begun;
      };
      growth.push(
        await growthDuring(pid, async () => {
          terminal.type(`printf '\\002'; cat ${file}\n`);
          await until("all of the file came", () => took > 0, minutes(1));
        }),
      );
      if (hash.digest("hex") !== wanted) throw new Error("what arrived is not what was written");
      rates.push(FILE_SIZE / 1e6 / (took / 1_000));
      terminal.type("exit\n");
      await terminal.exited();
    }
    return { rates, growth };
  }),
);

const SLOW_ACK = milliseconds(50);

/** `yes` for 10 s against acks that take their time, then Ctrl-C; each time in a terminal of its own. */
const slow = once(() =>
  onStage(async ({ server, pid }) => {
    const growth: number[] = [];
    const interrupts: number[] = [];
    for (let repetition = 0; repetition < 4; repetition++) {
      let bytes = 0;
      const terminal = await opened(server, async (frame) => {
        bytes += frame.length;
        await elapse(SLOW_ACK);
      });
      growth.push(
        await growthDuring(pid, async () => {
          terminal.type("yes 'a line that nobody wants to read'\n");
          await elapse(seconds(10));
        }),
      );
      if (bytes < 1e6) throw new Error(`only ${bytes} bytes arrived`);
      interrupts.push(await terminal.echo("\u0003", PROMPT, minutes(1)));
      terminal.type("exit\n");
      await terminal.exited();
    }
    return { growth, interrupts };
  }),
);

const WARM_UP = 50;
const SESSIONS = 500;

/** Terminals one after another: opened, used, left by `exit`. */
const sessions = once(() =>
  onStage(async ({ server, pid }) => {
    async function one(): Promise<number> {
      const begun = performance.now();
      const terminal = server.open();
      await terminal.opened();
      terminal.type("exit\n");
      await terminal.exited();
      return performance.now() - begun;
    }
    for (let n = 0; n < WARM_UP; n++) await one();
    const [memory, descriptors] = [await settledMemory(pid, seconds(3)), descriptorsOf(pid)];
    const each: number[] = [];
    for (let n = 0; n < SESSIONS; n++) each.push(await one());
    const growth = (await settledMemory(pid, seconds(3))) - memory;
    return { each, growth, descriptors: descriptorsOf(pid) - descriptors };
  }),
);

export default [
  { name: "keystroke → echo, cat", unit: "ms", limit: 5, run: () => keystrokes("stty -icrnl") },
  { name: "keystroke → echo, bash with readline", unit: "ms", limit: 5, run: () => keystrokes("") },
  {
    name: `terminal, ${FILE_SIZE / 1e6} MB through cat`,
    unit: "MB/s",
    limit: 20,
    better: "more",
    run: async () => (await flood()).rates,
  },
  { name: "growth of the agent meanwhile", unit: "MB", run: async () => (await flood()).growth },
  {
    name: "growth in 10 s of yes, acks after 50 ms",
    unit: "MB",
    limit: 16,
    run: async () => (await slow()).growth,
  },
  {
    name: "Ctrl-C → prompt after that",
    unit: "ms",
    limit: 1_000,
    run: async () => (await slow()).interrupts,
  },
  {
    name: `growth over ${SESSIONS} terminals`,
    unit: "MB",
    limit: 8,
    run: async () => [(await sessions()).growth],
  },
  {
    name: "descriptors left by them",
    unit: "",
    limit: 0,
    run: async () => [(await sessions()).descriptors],
  },
  { name: "terminal, open to exit", unit: "ms", run: async () => (await sessions()).each },
] satisfies Bench[];
