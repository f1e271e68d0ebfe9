// The entry: makes the environment harmless, then lets cli/ do the work.
import type { ExitCode } from "./lib/agent-error.ts";

process.noDeprecation = true;

// What makes a JavaScript runtime load or run other people's code, here or in a child that inherits it.
for (const name of Object.keys(process.env)) {
  if (/^(BUN_|NODE_OPTIONS$|NODE_PATH$|NODE_REPL_|NODE_V8_|JSC_)/.test(name)) delete process.env[name];
}

// Imported only now: no module may see the environment as it was.
const { main } = await import("./cli/cli.ts");
const code: ExitCode = await main(process.argv.slice(2));

// What was printed must be out before the process ends; a reader that is gone is waited for in vain.
await new Promise<void>((resolve) => {
  process.stdout.write("", () => resolve());
});
process.exit(code);
