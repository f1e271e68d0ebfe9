// The entry: makes the environment harmless, then lets cli/ do the work.
import type { ExitCode } from "./lib/agent-error.ts";

process.noDeprecation = true;

// What makes a JavaScript runtime load or run other people's code, here or in a child that inherits it.
for (const name of Object.keys(process.env)) {
  if (/^(BUN_|NODE_OPTIONS$|NODE_PATH$|NODE_REPL_|NODE_V8_|JSC_)/.test(name)) delete process.env[name];
}

// Imported only now: no module may see the environment as it was.
const { leave } = await import("./platform/stdio.ts");
const { crash, main } = await import("./cli/cli.ts");
// A defect ends with one message and no page of program text.
process.on("uncaughtException", (error) => void leave(crash(error)));
process.on("unhandledRejection", (error) => void leave(crash(error)));
const code: ExitCode = await main(process.argv.slice(2));
await leave(code);
