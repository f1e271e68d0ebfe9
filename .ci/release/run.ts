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
