// Promises of the completions and the manual page: each shell completes what the executable takes, and the page renders clean.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runBinary } from "../support/binary.ts";

setDefaultTimeout(150_000);

/** Runs a shell over a script with the completion beside it; resolves with all it prints. */
async function withCompletion(shell: string, script: string, ...args: readonly string[]): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "noderax-completion-"));
  try {
    const { stdout } = await runBinary(["completion", shell]);
    writeFileSync(join(directory, "completion"), stdout);
    writeFileSync(join(directory, "script"), script);
    writeFileSync(join(directory, "some-file"), "");
    const child = Bun.spawn([shell, ...args, "script"], {
      cwd: directory,
      env: { PATH: process.env["PATH"] ?? "", HOME: directory },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [out, errors] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expect(errors.replaceAll(/.*not currently executing completion.*\n/g, "")).toBe("");
    return out;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A line, its words as the shell cuts them, and what completes its last one. */
const LINES: readonly (readonly [words: readonly string[], expected: readonly string[]])[] = [
  [["ins"], ["install"]],
  [
    ["config", ""],
    ["show", "set", "path", "init"],
  ],
  [["config", "set", "log_l"], ["log_level"]],
  [["config", "--log-level", "info", "se"], ["set"]],
  [
    ["install", "--boo"],
    ["--bootstrap-token", "--bootstrap-token-file"],
  ],
  [["install", "--api-u"], ["--api-url"]],
  [["install", "--log-level", "d"], ["debug"]],
  [["install", "--bootstrap-token-file", "some-"], ["some-file"]],
  [["install", "--email", ""], []],
  [
    ["task", "logs", "--stream", "std"],
    ["stdout", "stderr"],
  ],
  [
    ["status", "--api"],
    ["--api-url", "--api-tls-ca-file"],
  ],
];

describe("in bash", () => {
  const missing = Bun.which("bash") === null;

  test.skipIf(missing)("Tab completes commands, flags, their values and settings (needs bash)", async () => {
    const tries = LINES.map(([words]) => `try noderax-agent ${words.map((word) => `'${word}'`).join(" ")}`);
    const out = await withCompletion(
      "bash",
      `. ./completion && complete -p noderax-agent
try() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _noderax_agent; echo "\${COMPREPLY[@]}"; }
${tries.join("\n")}
# As bash cuts the word: at the sign.
try noderax-agent install --log-level = d`,
    );
    const [declared, ...completed] = out.trimEnd().split("\n");
    expect(declared).toBe("complete -F _noderax_agent noderax-agent");
    expect(completed).toEqual([...LINES.map(([, words]) => words.join(" ")), "debug"]);
  });

  test.skipIf(Bun.which("shellcheck") === null)(
    "shellcheck has nothing to say (needs shellcheck)",
    async () => {
      const { stdout } = await runBinary(["completion", "bash"]);
      const check = Bun.spawnSync(["shellcheck", "--shell=bash", "-"], { stdin: Buffer.from(stdout) });
      expect(check.stdout.toString()).toBe("");
    },
  );
});

test.skipIf(Bun.which("fish") === null)(
  "fish completes the same, with descriptions (needs fish)",
  async () => {
    const tries = LINES.map(([words]) => `complete -C 'noderax-agent ${words.join(" ")}'; echo end`);
    const out = await withCompletion("fish", `source completion\n${tries.join("\n")}`, "--no-config");
    const completed = out.split("end\n").slice(0, -1);
    expect(
      completed.map((text) =>
        text
          .split("\n")
          .filter(Boolean)
          .map((line) => line.replace(/\t.*/, ""))
          .toSorted(),
      ),
    ).toEqual(LINES.map(([, words]) => words.toSorted()));
    expect(completed[0]).toContain("\trun the agent as a service");
  },
);

test.skipIf(Bun.which("zsh") === null)("zsh completes the same (needs zsh)", async () => {
  // compadd and _describe are what a completion hands its words to; here they print them.
  const tries = LINES.map(([words]) => `try noderax-agent ${words.map((word) => `'${word}'`).join(" ")}`);
  const out = await withCompletion(
    "zsh",
    `compdef() { :; }
compset() { return 1; }
_files() { print -l -- $PREFIX*(N); }
compadd() { shift; print -l -- \${(M)@:#$PREFIX*}; }
_describe() { local all=(\${(P)@[-1]}); print -l -- \${(M)\${all%%:*}:#$PREFIX*}; }
. ./completion
try() { words=("$@") CURRENT=$# PREFIX=$words[-1]; _noderax_agent; print -- --; }
${tries.join("\n")}`,
    "-f",
  );
  expect(
    out
      .split("--\n")
      .slice(0, -1)
      .map((text) => text.split("\n").filter(Boolean)),
  ).toEqual(LINES.map(([, words]) => [...words]));
});

test("a shell without a completion is refused with those there are", async () => {
  const { code, stderr } = await runBinary(["completion", "tcsh"]);
  expect(stderr).toContain("there are completions for bash, zsh, fish");
  expect(code).toBe(2);
});

test.skipIf(Bun.which("groff") === null)(
  "the manual page renders without a warning (needs groff)",
  async () => {
    const { stdout } = await runBinary(["man"]);
    const rendered = Bun.spawnSync(["groff", "-man", "-ww", "-Tascii", "-P-cbou"], {
      stdin: Buffer.from(stdout),
    });
    expect(rendered.stderr.toString()).toBe("");
    const text = rendered.stdout.toString();
    for (const word of ["config set <key>", "--bootstrap-token-file FILE", "task_timeout", "EXIT STATUS"])
      expect(text).toContain(word);
    // A line that begins with a dot or holds a backslash would be lost or changed.
    expect(text).toContain("config set agent_token - < token.txt");
  },
);
