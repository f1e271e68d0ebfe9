// Whatever stands in a payload reaches a real shell as it is: no value ends a quote, none is expanded.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { quote } from "../../src/lib/text.ts";
import { commandScript } from "../../src/tasks/run/wrapper.ts";

/** Text with what shells care about, and bytes that dash uses for itself (0x81 … 0x88, inside characters here). */
const word = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "'",
        '"',
        "\\",
        "$",
        "`",
        "$(id)",
        "${HOME}",
        "\n",
        "\r",
        "!",
        "*",
        "~",
        " ",
        "\t",
        ";",
        "&",
        "#",
      ),
      fc.constantFrom("ā", "Ё", "\u0081", "\u0088", "文", "😀", "\x01", "\x7f", "-n", "=", "\\n", "%s"),
      fc.string({ unit: "binary" }).filter((text) => !text.includes("\0")),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(""));
const variables = fc.dictionary(fc.stringMatching(/^V[A-Za-z0-9_]{0,8}$/), word, {
  maxKeys: 4,
  noNullPrototype: true,
});

/** Runs command.sh as the task's shell does, from descriptor 3. */
function run(script: string): { stdout: string; stderr: string; code: number } {
  const child = Bun.spawnSync(["/bin/sh", "-c", 'exec 3<&0 </dev/null; eval "$(cat <&3)"'], {
    stdin: Buffer.from(script),
    env: { PATH: "/usr/bin:/bin", HOME: "/" },
    stdout: "pipe",
    stderr: "pipe",
  });
  return { stdout: child.stdout.toString(), stderr: child.stderr.toString(), code: child.exitCode };
}

test("any environment value and any command reach the shell unchanged", () => {
  fc.assert(
    fc.property(variables, word, (environment, argument) => {
      const names = Object.keys(environment);
      const prints = [quote(argument), ...names.map((name) => `"$${name}"`)].join(" ");
      const command = `printf '%s\\0' ${prints}`;
      const script = commandScript({
        argv: ["/bin/sh", "-lc", command],
        environment,
        workingDirectory: undefined,
      });
      const expected = [argument, ...Object.values(environment)].map((text) => `${text.toWellFormed()}\0`);
      expect(run(script)).toEqual({ stdout: expected.join(""), stderr: "", code: 0 });
    }),
    { numRuns: 70 },
  );
});

test("any directory is entered by its own name", () => {
  const script = (workingDirectory: string) =>
    commandScript({ argv: ["/bin/sh", "-lc", "pwd"], environment: {}, workingDirectory });
  expect(run(script("/usr/bin")).stdout).toBe("/usr/bin\n");
  expect(run(script("/no/such'dir $(id)"))).toMatchObject({ stdout: "", code: 126 });
});
