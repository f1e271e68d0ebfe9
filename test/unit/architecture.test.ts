// The rules of ARCHITECTURE.md that a machine can check: who imports whom, sizes, names, and what may not be in here.
import { describe, expect, test } from "bun:test";
import { isBuiltin } from "node:module";
import { basename, dirname, join } from "node:path";
import manifest from "../../package.json";

const root = join(import.meta.dir, "../..");

/** Top to bottom. An import leads to a lower row; within a row only where `sideways` says so. */
const rows = [
  ["main"],
  ["cli"],
  ["agent", "sandbox", "install", "peer"],
  ["ops"],
  ["tasks", "terminal", "projects", "listener", "metrics"],
  ["packages"],
  ["control", "realtime", "identity"],
  ["config", "protocol"],
  ["platform"],
  ["lib"],
];
const sideways = ["realtime → control", "realtime → identity", "identity → control"];
/** The two sides of the wire are written twice from the contract, so that they check each other. */
const sharedWithSandbox = ["protocol", "platform", "lib"];

/** "src/tasks/kinds/shell.ts" belongs to "tasks", "src/agent/agent.ts" to "agent". */
const partOf = (file: string): string => file.split("/")[1]?.replace(/\.tsx?$/, "") ?? "";
const rowOf = (part: string): number => rows.findIndex((row) => row.includes(part));

function faultOfEdge(from: string, to: string): string | undefined {
  const [a, b] = [partOf(from), partOf(to)];
  const edge = `${a} → ${b}`;
  if (rowOf(b) < 0) return `${edge}: leads out of the layout`;
  if (a === b) return undefined;
  if (a === "sandbox")
    return sharedWithSandbox.includes(b) ? undefined : `${edge}: the sandbox shares only the wire`;
  if (["agent", "sandbox", "install", "peer"].includes(b) && a !== "cli")
    return `${edge}: only cli knows ${b}`;
  if (rowOf(a) > rowOf(b)) return `${edge} runs up`;
  if (rowOf(a) === rowOf(b) && !sideways.includes(edge)) return `${edge} runs sideways`;
  return undefined;
}

function faultOfPackage(from: string, specifier: string): string | undefined {
  if (specifier === "bun" || specifier.startsWith("bun:") || specifier.startsWith("node:")) return undefined;
  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  if (isBuiltin(specifier)) return `write node:${specifier}`;
  if (!Object.hasOwn(manifest.dependencies, name)) return `${name} is not among the dependencies`;
  if (name === "dockerode" && from !== "src/projects/docker/client.ts")
    return "only projects/docker/client.ts knows dockerode";
  return undefined;
}

/** What leaves without the output that waits, or writes past it. */
const OUTPUT =
  /\bprocess\.(exit|abort|reallyExit)\(|\bprocess\.std(out|err)\??\.(write|end|pipe)\(|\bconsole\.\w+\(|\bBun\.std(out|err)\b|\bwriteSync\([12],/;

/** Every specifier: static, re-exported, type-only, `typeof import()`, dynamic. Not Bun's scanner: it drops types. */
function importsOf(source: string): string[] {
  const code = source.replaceAll(/^\s*(\/\/.*|\/?\*.*)$/gm, "");
  const patterns = [
    /^[ \t]*(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/gm,
    /^[ \t]*import\s*["']([^"']+)["']/gm,
    /\b(?:import|require)\s*\(\s*["'`]([^"'`]+)["'`]/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ""));
}

/** The table, and how often this machine is polled for what is no failure. */
const MAY_HOLD_PAUSES = ["src/control/retry.ts", "src/platform/output-queue.ts", "src/platform/processes.ts"];

function faultsOf(file: string, source: string): string[] {
  const faults = importsOf(source).map((specifier) =>
    specifier.startsWith(".")
      ? faultOfEdge(file, join(dirname(file), specifier))
      : faultOfPackage(file, specifier),
  );
  if (/\b(?:import|require)\s*\(\s*[^"'`\s)]/.test(source.replaceAll(/^\s*(\/\/.*|\/?\*.*)$/gm, "")))
    faults.push("a dynamic import names its module as a literal");
  // The sandbox plays the servers, which keep their times by the wall clock.
  if (
    /\bDate\.now\b|\btimeOrigin\b/.test(source) &&
    file !== "src/lib/clock.ts" &&
    partOf(file) !== "sandbox"
  )
    faults.push("reads a clock past lib/clock.ts, whose types keep wall and steady time apart");
  if (/\bAbortSignal\.(any|timeout)\(/.test(source))
    faults.push("joins or times a signal past lib/abort-scope.ts, whose signals leave nothing behind");
  if (/\b2 \*\* (?!\d)/.test(source) && file !== "src/lib/backoff.ts")
    faults.push("doubles a pause past lib/backoff.ts");
  if (/\bcap: *(?:milliseconds|seconds|minutes)\(/.test(source) && !MAY_HOLD_PAUSES.includes(file))
    faults.push("holds a backoff past control/retry.ts, the table of all retries");
  if (/\bregistry\.add\(/.test(source) && file !== "src/lib/loop.ts")
    faults.push("writes the record of a loop past lib/loop.ts");
  const lines = source.trimEnd().split("\n");
  if (rowOf(partOf(file)) < 0) faults.push(`"${partOf(file)}" is no part of the layout`);
  if (lines.length > 450) faults.push(`${lines.length} lines; split above 450`);
  if (!/^\/\/ \S/.test(source)) faults.push("opens without a // line that says what it is for");
  if (file !== "src/platform/stdio.ts" && OUTPUT.test(source))
    faults.push("only platform/stdio.ts writes to stdout and stderr or ends the process");
  if (/^(utils?|helpers?|managers?|common|types)\./.test(basename(file)))
    faults.push("named after nothing it does");
  return faults.filter((fault) => fault !== undefined).map((fault) => `${file}: ${fault}`);
}

const COMMENTS = /^\s*(\/\/.*|\/?\*.*)$/gm;

/** The names that a file declares and exports. A schema and the type of its values may share one. */
const exportsOf = (code: string): ReadonlySet<string> =>
  new Set(
    [...code.matchAll(/^export (?:async )?(?:function\*?|const|let|class|type|interface|enum) (\w+)/gm)].map(
      ([, name = ""]) => name,
    ),
  );

const countOf = (name: string, code: string): number =>
  [...code.matchAll(new RegExp(`(?<!\\w)${name}(?!\\w)`, "g"))].length;

/**
 * Exported names that nothing runs but tests, and names that two files export. `tools` are files that use what src exports,
 * without being a part of it.
 */
function faultsOfExports(
  sources: ReadonlyMap<string, string>,
  tools: ReadonlyMap<string, string> = new Map(),
): string[] {
  const files = [...sources, ...tools].map(([file, source]) => {
    const imports = importsOf(source).filter((specifier) => specifier.startsWith("."));
    return {
      file,
      code: source.replaceAll(COMMENTS, ""),
      imports: new Set(imports.map((to) => join(dirname(file), to))),
    };
  });
  const homes = new Map<string, string[]>();
  const faults: string[] = [];
  for (const { file, code } of files.filter((one) => sources.has(one.file))) {
    for (const name of exportsOf(code)) {
      homes.set(name, [...(homes.get(name) ?? []), file]);
      const isDeclaredTwice = new RegExp(`^export type ${name} = v\\.InferOutput<typeof ${name}>`, "m").test(
        code,
      );
      // Once where it is declared; a type that is inferred from its schema names it three times.
      const isUsed =
        countOf(name, code) > (isDeclaredTwice ? 3 : 1) ||
        files.some((other) => other.imports.has(file) && countOf(name, other.code) > 0);
      if (!isUsed) faults.push(`${file}: nothing in src uses ${name}; delete it, or test what does run`);
    }
  }
  for (const [name, places] of homes)
    if (places.length > 1) faults.push(`${name} is exported by ${places.join(" and ")}; rename one`);
  return faults;
}

/** Tests that depend on the system say on what, in the name: that is what a skipped test prints. */
function faultsOfSkips(file: string, source: string): string[] {
  const may = /\b(?:test|it|describe)(?:\.\w+)*\.(skip|todo|skipIf|todoIf|if)\(/g;
  return [...source.matchAll(may)]
    .filter(
      ({ 1: kind, index }) =>
        !["skipIf", "if"].includes(kind ?? "") || !source.slice(index, index + 400).includes("(needs "),
    )
    .map(([text]) => `${file}: ${text}…): use skipIf and a name that ends on "(needs …)"`);
}

/** Tests against a whole agent wait for events; time that is itself under test has a name of its own. */
function faultsOfSleeps(file: string, code: string): string[] {
  if (!/^test\/(contract|docker|system|bench)\//.test(file)) return [];
  // Code of a program that a test starts stands in quotes.
  return [...code.matchAll(/^[^"'`\n]*\bBun\.sleep\(/gm)].map(
    ([text]) => `${file}: ${text.trim()}…): use until, or elapse where the time is what is tested`,
  );
}

const noGit = Bun.which("git") === null;

/** What git knows of, and what it would: not the ignored, not the deleted. */
async function repository(...pathspecs: string[]): Promise<Map<string, string>> {
  const git = Bun.spawnSync(["git", "ls-files", "-z", "-co", "--exclude-standard", "--", ...pathspecs], {
    cwd: root,
  });
  if (!git.success) throw new Error(`git ls-files: ${git.stderr.toString()}`);
  const files = new Map<string, string>();
  for (const name of git.stdout.toString().split("\0").filter(Boolean)) {
    const file = Bun.file(join(root, name));
    if (await file.exists()) files.set(name, await file.text());
  }
  return files;
}

test.skipIf(noGit)("every source file keeps the architecture (needs git)", async () => {
  const sources = [...(await repository("src"))].filter(([name]) => /\.tsx?$/.test(name));
  expect(sources.length).toBeGreaterThan(10);
  expect(sources.flatMap(([name, source]) => faultsOf(name, source))).toEqual([]);
});

test.skipIf(noGit)(
  "nothing in the repository points outside of it or at one registry (needs git)",
  async () => {
    const outside = ["..", "shared"].join("/");
    const files = [...(await repository())];
    expect(files.filter(([, text]) => text.includes(outside)).map(([name]) => name)).toEqual([]);
    expect(await Bun.file(join(root, "bun.lock")).text()).not.toContain("://");
  },
);

test.skipIf(noGit)("every exported name is used in src, and exported by one file (needs git)", async () => {
  const sources = await repository("src");
  expect(faultsOfExports(sources, await repository(".ci/*.ts"))).toEqual([]);
});

test.skipIf(noGit)("every code of an AgentError is used by some source file (needs git)", async () => {
  const sources = await repository("src");
  const table = sources.get("src/lib/error-codes.ts") ?? "";
  sources.delete("src/lib/error-codes.ts");
  const code = [...sources.values()].join("\n");
  const names = [...table.matchAll(/^  (\w+):([^;]+);$/gm)].flatMap(([, part, words = ""]) =>
    [...words.matchAll(/"(\w+)"/g)].map(([, word]) => `"${part}.${word}"`),
  );
  expect(names.length).toBeGreaterThan(100);
  expect(names.filter((name) => !code.includes(name))).toEqual([]);
});

test.skipIf(noGit)("a test that may be skipped says what it needs (needs git)", async () => {
  const tests = [...(await repository("test"))].filter(
    ([name]) => name.endsWith(".test.ts") && !name.endsWith("architecture.test.ts"),
  );
  expect(tests.flatMap(([name, source]) => faultsOfSkips(name, source))).toEqual([]);
});

test.skipIf(noGit)("tests of whole agents wait for events (needs git)", async () => {
  const tests = [...(await repository("test"))];
  expect(tests.flatMap(([name, source]) => faultsOfSleeps(name, source))).toEqual([]);
});

describe("the rules themselves", () => {
  const source = (...lines: string[]): string => ["// A file.", ...lines, ""].join("\n");

  test.each([
    ["src/main.ts", 'import { run } from "./cli/run.ts";'],
    [
      "src/cli/commands/dev.ts",
      'const a = await import("../../agent/agent.ts");\nimport { s } from "../../sandbox/serve.ts";',
    ],
    ["src/agent/agent.ts", 'import { a } from "../tasks/a.ts";\nimport { l } from "../lib/l.ts";'],
    ["src/realtime/session.ts", 'import { http } from "../control/http.ts";'],
    [
      "src/sandbox/store.ts",
      'import { open } from "../platform/database.ts";\nimport { b } from "./schema.ts";',
    ],
    [
      "src/projects/docker/client.ts",
      'import Docker from "dockerode";\nimport { Database } from "bun:sqlite";',
    ],
    ["src/lib/text.ts", '/**\n * `import { a } from "../cli/a.ts"`\n */\n// import("../cli/b.ts")'],
  ])("%s may: %j", (file, code) => {
    expect(faultsOf(file, source(code))).toEqual([]);
  });

  test.each([
    ["src/lib/a.ts", 'import { a } from "../platform/a.ts";', "runs up"],
    ["src/lib/a.ts", 'import type { A } from "../platform/a.ts";', "runs up"],
    ["src/lib/a.ts", 'import {\n  a,\n  type B,\n} from "../platform/a.ts";', "runs up"],
    ["src/lib/a.ts", 'export * from "../platform/a.ts";', "runs up"],
    ["src/lib/a.ts", 'import "../platform/a.ts";', "runs up"],
    ["src/lib/a.ts", 'const a = await import("../platform/a.ts");', "runs up"],
    ["src/lib/a.ts", 'type A = typeof import("../platform/a.ts");', "runs up"],
    ["src/lib/a.ts", "const a = await import(name);", "literal"],
    ["src/tasks/a.ts", 'import { a } from "../terminal/a.ts";', "runs sideways"],
    ["src/packages/a.ts", 'import { a } from "../tasks/a.ts";', "runs up"],
    ["src/control/a.ts", 'import { a } from "../realtime/a.ts";', "runs sideways"],
    ["src/config/a.ts", 'import { a } from "../protocol/a.ts";', "runs sideways"],
    ["src/protocol/a.ts", 'import { a } from "../config/a.ts";', "runs sideways"],
    ["src/agent/agent.ts", 'import { a } from "../sandbox/a.ts";', "only cli"],
    ["src/main.ts", 'import { a } from "./agent/agent.ts";', "only cli"],
    ["src/ops/a.ts", 'import { a } from "../agent/agent.ts";', "only cli"],
    ["src/sandbox/a.ts", 'import { a } from "../control/a.ts";', "shares only the wire"],
    ["src/sandbox/a.ts", 'import { a } from "../config/a.ts";', "shares only the wire"],
    ["src/misc/a.ts", "", "no part of the layout"],
    ["src/lib/a.ts", 'import { a } from "../misc/a.ts";', "leads out of the layout"],
    ["src/cli/a.ts", 'import { a } from "../../test/support/a.ts";', "leads out of the layout"],
    ["src/lib/a.ts", 'import fc from "fast-check";', "not among the dependencies"],
    ["src/lib/a.ts", 'import { join } from "path";', "write node:path"],
    [
      "src/projects/plan/project.ts",
      'import type Docker from "dockerode";',
      "only projects/docker/client.ts",
    ],
    ["src/lib/utils.ts", "", "named after nothing"],
    ["src/cli/a.ts", "process.exit(code);", "ends the process"],
    ["src/cli/a.ts", 'process.stdout.write("a");', "writes to stdout"],
    ["src/cli/a.ts", 'console.log("a");', "writes to stdout"],
  ])("%s may not: %j", (file, code, fault) => {
    expect(faultsOf(file, source(code)).join()).toContain(fault);
  });

  test("450 lines are a file, 451 are two", () => {
    expect(faultsOf("src/lib/a.ts", "// A file.\n" + "\n;".repeat(448))).toEqual([]);
    expect(faultsOf("src/lib/a.ts", "// A file.\n" + "\n;".repeat(450)).join()).toContain("split above 450");
  });

  test("a file without its opening line is seen", () => {
    expect(faultsOf("src/lib/a.ts", "export {};\n").join()).toContain("opens without");
  });

  test.each([
    ["export const once = 1;\n", "", "nothing in src uses once"],
    ["export async function once() {}\n", "const once = 2;\n", "nothing in src uses once"],
    ["/** once */\nexport type once = 1;\n// once\n", "", "nothing in src uses once"],
    [
      "export class Once {}\n",
      "import type { Once } from './a.ts';\nexport interface Once extends Once {}\n",
      "Once is exported by src/lib/a.ts and src/lib/b.ts",
    ],
    ["export const once = 1;\n", 'import { once } from "./a.ts";\n', undefined],
    ["export const once = 1;\nconst again = once;\n", "", undefined],
    [
      "export const Once = v.string();\nexport type Once = v.InferOutput<typeof Once>;\nuse(Once);\n",
      "",
      undefined,
    ],
  ])("of exported names: %j beside %j", (a, b, fault) => {
    const found = faultsOfExports(
      new Map([
        ["src/lib/a.ts", a],
        ["src/lib/b.ts", b],
      ]),
    );
    expect(found.join()).toContain(fault ?? "");
    expect(found.length > 0).toBe(fault !== undefined);
  });

  test("of the clocks", () => {
    const source = "// A file.\nexport const now = Date.now();\n";
    expect(faultsOf("src/tasks/a.ts", source).join()).toContain("reads a clock past lib/clock.ts");
    expect(faultsOf("src/lib/clock.ts", source)).toEqual([]);
  });

  test.each([
    ["const pause = base * 2 ** failures;", "doubles a pause past lib/backoff.ts"],
    ["const own = { base: seconds(1), cap: seconds(9) };", "holds a backoff past control/retry.ts"],
    ['const record = registry.add("mine");', "writes the record of a loop past lib/loop.ts"],
  ])("of loops and retries: %j is seen", (code, fault) => {
    expect(faultsOf("src/tasks/a.ts", `// A file.\n${code}\n`).join()).toContain(fault);
  });

  test("of signals that outlive what they are made for", () => {
    const source = (call: string): string => `// A file.\nexport const signal = AbortSignal.${call};\n`;
    expect(faultsOf("src/tasks/a.ts", source("timeout(5)")).join()).toContain("past lib/abort-scope.ts");
    expect(faultsOf("src/tasks/a.ts", source("any([])")).join()).toContain("past lib/abort-scope.ts");
  });

  test.each(['test.skip("a", f);', 'test.todo("a");', 'test.skipIf(away)("a", f);'])("%s is seen", (code) => {
    expect(faultsOfSkips("test/a.test.ts", code)).toHaveLength(1);
    expect(faultsOfSkips("test/a.test.ts", 'test.skipIf(away)("a (needs Docker)", f);')).toEqual([]);
  });

  test("of time that passes without a name in the tests of whole agents", () => {
    const code = "  await Bun.sleep(100);\n";
    expect(faultsOfSleeps("test/contract/a.test.ts", code)).toHaveLength(1);
    expect(faultsOfSleeps("test/unit/a.test.ts", code)).toEqual([]);
    expect(faultsOfSleeps("test/system/a.test.ts", 'start("await Bun.sleep(100)");\n')).toEqual([]);
  });
});
