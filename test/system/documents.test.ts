// Executes the command blocks of README and CONTRIBUTING. A block that cannot run says why; its commands, flags and files are
// checked for their existence.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { binary } from "../support/binary.ts";
import { type Machine, machine, startDev } from "../support/dev.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(20_000);

const root = join(import.meta.dir, "../..");
const read = (name: string): string => readFileSync(join(root, name), "utf8");

interface Block {
  /** "README.md:14" */
  readonly place: string;
  /** The words behind the opening fence. */
  readonly info: string;
  readonly lines: readonly string[];
}

function blocksOf(name: string): Block[] {
  const blocks: Block[] = [];
  let open: { place: string; info: string; lines: string[] } | undefined;
  for (const [index, line] of read(name).split("\n").entries()) {
    const fence = /^```(.*)$/.exec(line);
    if (fence === null) open?.lines.push(line);
    else if (open === undefined) open = { place: `${name}:${index + 1}`, info: fence[1] ?? "", lines: [] };
    else {
      blocks.push(open);
      open = undefined;
    }
  }
  return blocks;
}

const blocks = ["README.md", "CONTRIBUTING.md"].flatMap(blocksOf);
const executable = blocks.filter(({ info }) => info === "console");
const marked = blocks.filter(({ info }) => /^(sh|console) not executable: \S/.test(info));

test("every block is a console session that runs here, or says why it does not", () => {
  const others = blocks.filter((block) => !executable.includes(block) && !marked.includes(block));
  expect(others.map(({ place, info }) => `${place} ${info}`)).toEqual([]);
  expect(executable.length).toBeGreaterThan(1);
});

/** The commands of a block: of a session, the lines with a prompt. */
const commandsIn = ({ info, lines }: Block): string[] =>
  lines
    .flatMap((line) => (info.startsWith("sh") ? line : (/^\$ (.*)$/.exec(line)?.[1] ?? [])))
    .map((line) => line.replace(/\s+# .*$/, "").trim())
    .filter((line) => line !== "");

/** A command and the lines shown below it. */
function sessionsIn({ lines }: Block): { command: string; shown: string[] }[] {
  const sessions: { command: string; shown: string[] }[] = [];
  for (const line of lines)
    if (line.startsWith("$ ")) sessions.push({ command: line.slice(2), shown: [] });
    else sessions.at(-1)?.shown.push(line);
  return sessions;
}

/** Numbers, versions, ports and the path of the executable differ from machine to machine. */
const general = (line: string): string =>
  line.replaceAll(/\S*\/noderax-agent/g, "noderax-agent").replaceAll(/\d[\w.:+-]*/g, "#");

const inShell = (host: Machine, command: string) =>
  host.run(["-c", command.replaceAll(/(?:\S*\/)?\bnoderax-agent(?=\s)/g, binary)], { file: "/bin/sh" });

describe("a session", () => {
  const [starts, tasks] = [true, false].map((isStart) =>
    executable.flatMap(sessionsIn).filter(({ command }) => command.startsWith("npm start") === isStart),
  );

  test.each(starts ?? [])("$command greets as shown", async ({ shown }) => {
    using host = machine();
    // `npm start` builds the executable and runs `dev`. Without Docker, the lines about it are left out.
    const env = { DOCKER_HOST: `unix://${host.at("no-docker")}` };
    await using dev = host.start(["dev", "--port", "0"], { env });
    const printed: string[] = [];
    for await (const line of dev.lines) {
      if (!line.startsWith("  docker  ")) printed.push(general(line));
      if (line.includes("Ctrl-C")) break;
    }
    expect(printed.length).toBeGreaterThan(6);
    expect(printed.filter((line) => !shown.map(general).includes(line))).toEqual([]);
  });

  test.each(tasks ?? [])("$command prints what is shown", async ({ command, shown }) => {
    using host = machine();
    await using _dev = await startDev(host);
    const { stdout, stderr } = await inShell(host, command);
    expect({ lines: stdout.trimEnd().split("\n").map(general), stderr }).toEqual({
      lines: shown.map(general),
      stderr: "",
    });
  });
});

describe("what is not executed", () => {
  const commands = marked.flatMap((block) => commandsIn(block).map((command) => [block.place, command]));

  const ours = commands.flatMap(([place = "", command = ""]) => {
    const [, call] = /(?:^|\s)((?:\S*\/)?noderax-agent\s.*)$/.exec(command) ?? [];
    return call === undefined ? [] : [[place, call] as const];
  });
  test.each(ours)("%s: %s is a command with these flags", async (_, call) => {
    using host = machine();
    // The help is shown only when every flag before it is known.
    const { code, stderr } = await inShell(host, `${call} --help`);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  test("scripts of npm that are called exist", () => {
    const named = commands.flatMap(([, command = ""]) => {
      const script = /\bnpm (?:run ([\w:]+)|(start|test))/.exec(command);
      return script === null ? [] : [script[1] ?? script[2] ?? ""];
    });
    expect(named.length).toBeGreaterThan(3);
    expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
  });

  test("files of this repository that are named exist", () => {
    const named = commands.flatMap(([, command = ""]) =>
      [...command.matchAll(/(?<![\w/.-])(?:src|test)\/[\w./-]+(?=\s|$)/g)].map(([path]) => path),
    );
    // A name in capitals stands for one that the reader chooses.
    const exact = named.filter((path) => !/[A-Z]{2}/.test(path));
    expect(exact.length).toBeGreaterThan(1);
    expect(exact.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });
});
