// Runs the tools of a release.

/** Runs a program to its end and returns what it printed. Throws, with that, when it fails. */
export function run(
  command: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], {
    ...options,
    env: { ...process.env, LC_ALL: "C", ...options.env },
    stdin: "ignore",
  });
  if (exitCode !== 0) throw new Error(`${command.join(" ")} failed (${exitCode}): ${stdout}${stderr}`);
  return stdout.toString();
}

/** The same without blocking, for work that goes on beside. Resolves when it ended well; what it says is shown if it did not. */
export async function runAsync(
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd?: string,
): Promise<void> {
  const child = Bun.spawn([...command], {
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const [said, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")} failed (${code}): ${said}`);
}
