// Promises of `--help`: at every level, on stdout, with usage and examples, without an error.
import { expect, setDefaultTimeout, test } from "bun:test";
import { runBinary } from "../support/binary.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(150_000);

/** The commands a help text lists. */
function listed(help: string): string[] {
  const [, section = ""] = /^Commands:\n((?: {2}.+\n)+)/m.exec(help) ?? [];
  return [...section.matchAll(/^ {2}(\S+)/gm)].map(([, name = ""]) => name);
}

test("--help says usage and examples for every command there is", async () => {
  const seen: string[] = [];
  async function look(path: readonly string[]): Promise<void> {
    const { code, stdout, stderr } = await runBinary([...path, "--help"]);
    const name = ["noderax-agent", ...path].join(" ");
    expect({ name, code, stderr }).toEqual({ name, code: 0, stderr: "" });
    expect(stdout).toContain(`Usage: ${name}`);
    const below = listed(stdout);
    // A mere group of commands has its examples one level down; one without arguments needs none.
    if (below.length === 0 && name !== "noderax-agent config path")
      expect(stdout).toContain(`Examples:\n  ${name}`);
    expect(stdout.split("\n").filter((line) => line.length > 120)).toEqual([]);
    seen.push(name);
    for (const next of below) await look([...path, next]);
  }
  await look([]);
  for (const name of ["run", "enroll", "status", "task logs", "config set", "sandbox task", "dev"])
    expect(seen).toContain(`noderax-agent ${name}`);
});

test("help COMMAND, -h and --help say the same", async () => {
  const [long, short, word] = await Promise.all([
    runBinary(["enroll", "--help"]),
    runBinary(["enroll", "-h"]),
    runBinary(["help", "enroll"]),
  ]);
  expect(short).toEqual(long);
  expect(word).toEqual(long);
});

test("--help wins over what is wrong beside it", async () => {
  const { code, stderr } = await runBinary(["config", "set", "--help"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});
