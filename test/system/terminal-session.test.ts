// Promises of terminals, all of it compiled: agent, sandbox, and the person at `sandbox terminal`.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, mkdirSync } from "node:fs";
import type { TerminalDocument } from "../../src/sandbox/documents.ts";
import { type RunningBinary, binary } from "../support/binary.ts";
import { type Machine, type Operator, enrolled, machine, startSandbox, until } from "../support/dev.ts";
import { type Person, inTerminal } from "../support/screen.ts";
import { elapse } from "../support/until.ts";
import { descriptorsOf, peakMemoryOf, processesOf } from "../support/processes.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(150_000);

const NODE = "web-01";
/** At the beginning of a line, where the shell puts it. */
const PROMPT = /[\r\n]% $/;
let host: Machine;
let sandbox: Awaited<ReturnType<typeof startSandbox>>;
let agent: RunningBinary;

const isConnected = (at: Operator, name = NODE): Promise<unknown> =>
  until(`${name} has a session`, async () => {
    try {
      // A terminal at once is the proof; a node that is online may be so by its heartbeat alone.
      const { id } = await opens(at, name);
      await ends(at, id, "exit\n");
      return true;
    } catch {
      return false;
    }
  });

async function terminal(at: Operator, id: string): Promise<TerminalDocument> {
  return (await at.call("GET", `/terminals/${id}`)) as TerminalDocument;
}

async function opens(at: Operator, node = NODE): Promise<TerminalDocument> {
  return (await at.call("POST", "/terminals", { node })) as TerminalDocument;
}

/** Types the text and waits for the end. */
async function ends(at: Operator, id: string, text: string): Promise<TerminalDocument> {
  await at.call("POST", `/terminals/${id}/input`, { text });
  return until("the terminal is closed", async () => {
    const now = await terminal(at, id);
    if (now.status === "failed") throw new Error(JSON.stringify(now));
    return now.status === "closed" && now;
  });
}

/** At a shell whose prompt is a percent sign, in a window of 100 × 30. */
async function sits(args: readonly string[] = ["sandbox", "terminal", NODE], file?: string): Promise<Person> {
  const person = inTerminal(host, args, file);
  await person.shows("connected to");
  person.type("PS1='%'' '\r");
  await person.shows(PROMPT);
  person.forgets();
  return person;
}

/** Types a line at the prompt. Resolves with what its command shows. */
async function says(person: Person, line: string): Promise<string> {
  person.forgets();
  person.type(`${line}\r`);
  await person.shows(PROMPT);
  return person.text().replaceAll("\r", "").split("\n").slice(1, -1).join("\n");
}

beforeAll(async () => {
  host = machine();
  mkdirSync(host.at("poems"));
  chmodSync(host.at("poems"), 0o777);
  sandbox = await startSandbox(host);
  await sandbox.call("PUT", "/timings", { transcript_limit: 1_000_000_000, frame_race_window: "0s" });
  await enrolled(host, sandbox, NODE);
  agent = host.start(["run"]);
  await isConnected(sandbox);
});

afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await sandbox[Symbol.asyncDispose]();
  host[Symbol.dispose]();
});

const missing = (...programs: string[]): boolean => programs.some((program) => Bun.which(program) === null);

/** The program is left by the key, and the tty of the shell is as it was. */
async function leaves(person: Person, before: string, key: string): Promise<void> {
  person.type(key);
  await person.shows(/% $/);
  expect(await says(person, "stty -g")).toBe(before);
}

describe("a full-screen program", () => {
  test.skipIf(missing("less"))("less turns pages, finds, and quits (needs less)", async () => {
    using person = await sits();
    const before = await says(person, "stty -g");
    person.type("seq -f 'line %g.' 500 | less\r");
    await person.shows("line 29.");
    expect(person.screen()).toContain("\u001b[?1049h");
    expect(person.text()).not.toContain("line 31.");
    person.forgets();
    person.type(" ");
    await person.shows("line 58.");
    expect(person.text()).not.toContain("line 60.");
    person.type("/line 4.7\\.\r");
    await person.shows("line 407.");
    person.type("G");
    await person.shows("(END)");
    expect(person.text()).toContain("line 500.");
    await leaves(person, before, "q");
  });

  test.skipIf(missing("top"))("top draws, follows the window, and quits (needs top)", async () => {
    using person = await sits();
    const before = await says(person, "stty -g");
    person.type("top -d 60\r");
    await person.shows(/top - .*load average/);
    await person.shows(/PID USER .* COMMAND/);
    person.forgets();
    person.resizes(120, 14);
    // Nothing but the new size makes it draw again within a minute.
    await person.shows(/top - .*load average/);
    await leaves(person, before, "q");
    expect(await says(person, "stty size")).toBe("14 120");
  });

  test.skipIf(missing("busybox"))("vi writes what was typed into a file (needs busybox)", async () => {
    using person = await sits();
    const before = await says(person, "stty -g");
    await says(person, `cd ${host.at("poems")}`);
    person.type("busybox vi poem\r");
    await person.shows("poem 1/1");
    person.type("iroses are red,\rviolets are blue");
    await person.shows("violets are blue");
    person.type("\u001b");
    await person.shows(/- poem \[Modified\] 2\/2/);
    person.type("k0dwiTulips \u001b");
    await person.shows("Tulips");
    person.type(":x\r");
    await person.shows(/% $/);
    expect(await says(person, "cat poem")).toBe("Tulips are red,\nviolets are blue");
    expect(await says(person, "stty -g")).toBe(before);
  });
});

describe("a person", () => {
  test("gets their own terminal back as it was, and the shell's exit code", async () => {
    const script = `stty -g; '${binary}' sandbox terminal ${NODE}; echo "code $?"; stty -g`;
    using person = inTerminal(host, ["-c", script], "/bin/sh");
    await person.shows("connected to");
    person.type("PS1='%'' '\r");
    await person.shows(PROMPT);
    person.type("exit 42\r");
    expect(await person.exited).toBe(0);
    const said = person.text().replaceAll("\r", "");
    expect(said).toContain("code 42\n");
    const [first, last] = said.match(/^[\da-f]+(?::[\da-f]+){10,}$/gm) ?? [];
    expect(first).toBeDefined();
    expect(last).toBe(first ?? "");
  });

  test("who drags their window about ends with the size it has", async () => {
    using person = await sits();
    for (let change = 1; change <= 200; change++) {
      person.resizes(20 + ((change * 37) % 200), 10 + ((change * 11) % 60));
      if (change % 5 === 0) await elapse(1);
    }
    person.resizes(91, 27);
    await until("the shell has it", async () => (await says(person, "stty size")) === "27 91");
  });

  test("sees the output go on where it was when the socket is cut", async () => {
    using person = await sits();
    person.type("stty -echo; for i in $(seq 60); do echo no. $i.; sleep 0.02; done; echo fin''ished\r");
    await person.shows("no. 10.");
    expect(await sandbox.call("POST", "/sockets/disconnect", { node: NODE })).toEqual({ disconnected: 1 });
    await person.shows("finished");
    const numbers = [...person.text().matchAll(/no\. (\d+)\./g)].map(([, number]) => Number(number));
    const known = new Set<number>();
    // A frame whose ack was lost comes twice; whatever comes for the first time comes in order.
    const first = numbers.filter((number) => !known.has(number) && known.add(number));
    expect(first).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
  });
});

test("100 MB of text in many languages through cat are the same 100 MB, whole characters in every frame", async () => {
  const line = `${"Grüße, 世界 — Ελλάδα 👩🏽‍🚀 क्षि; ".repeat(20)}\n`;
  const text = Buffer.from(line.repeat(Math.ceil(1e8 / Buffer.byteLength(line))));
  await Bun.write(host.at("large"), text);
  chmodSync(host.at("large"), 0o644);
  const quiet = "PS1= PS2=; bind 'set enable-bracketed-paste off'; stty -echo -opost";
  host.write(
    "commands",
    `${quiet}\nprintf '<%s>' begin; cat ${host.at("large")}; printf '<%s>' end; exit 9\n`,
  );
  const memory = peakMemoryOf(agent.pid);
  const script = `'${binary}' sandbox terminal ${NODE} < ${host.at("commands")} > ${host.at("shown")}`;
  const { code, stderr } = await host.run(["-c", script], { file: "/bin/sh", timeout: 110_000 });
  expect({ code, stderr }).toEqual({ code: 9, stderr: "" });
  const shown = Buffer.from(await Bun.file(host.at("shown")).arrayBuffer());
  const begin = shown.indexOf("<begin>") + "<begin>".length;
  const got = shown.subarray(begin, shown.lastIndexOf("<end>"));
  expect(got.length).toBe(text.length);
  expect(Bun.SHA256.hash(got, "hex")).toBe(Bun.SHA256.hash(text, "hex"));
  expect(peakMemoryOf(agent.pid) - memory).toBeLessThan(128);
  const [{ id } = { id: "" }] = ((await sandbox.call("GET", "/terminals")) as TerminalDocument[]).slice(-1);
  const chunks = (await sandbox.call("GET", `/terminals/${id}/transcript?after=0`)) as { payload: string }[];
  const whole = new TextDecoder("utf-8", { fatal: true });
  expect(() => {
    for (const { payload } of chunks.slice(0, 400)) whole.decode(Buffer.from(payload, "base64"));
  }).not.toThrow();
});

test("twenty terminals at once end each with its own code", async () => {
  const all = await Promise.all(Array.from({ length: 20 }, () => opens(sandbox)));
  const codes = await Promise.all(
    all.map(async ({ id }, index) => (await ends(sandbox, id, `sleep 0.2; exit ${index}\n`)).exit_code),
  );
  expect(codes).toEqual(Array.from({ length: 20 }, (_, index) => index));
});

test("five hundred terminals one after another leave no descriptor behind", async () => {
  const before = descriptorsOf(agent.pid);
  for (let index = 0; index < 500; index++) {
    const { id } = await opens(sandbox);
    expect((await ends(sandbox, id, `exit ${index % 256}\n`)).exit_code).toBe(index % 256);
  }
  // A few more or less are connections that idle; a leak would be hundreds.
  expect(Math.abs(descriptorsOf(agent.pid) - before)).toBeLessThan(10);
});

test("an agent that is killed and started again tells the person that their terminal is over", async () => {
  using person = await sits();
  // A length that no other process sleeps.
  const length = `300.${process.pid}`;
  await says(person, `trap '' HUP; sleep ${length} &`);
  await until("it sleeps", () => processesOf("sleep", length).length === 1);
  agent.signal("SIGKILL");
  await agent.exited;
  agent = host.start(["run"]);
  await person.shows("the terminal was closed: the agent was restarted, and the terminal with it");
  expect(await person.exited).not.toBe(0);
  expect(processesOf("sleep", length)).toEqual([]);
  await isConnected(sandbox);
});
