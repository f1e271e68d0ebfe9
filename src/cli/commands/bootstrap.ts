// `bootstrap`: the Go agent's name for an enrollment with the token of an install command.
import type { ExitCode } from "../../lib/agent-error.ts";
import { readToken } from "../bootstrap-token.ts";
import { command } from "../command.ts";
import { configFlags, configFrom } from "../config-flags.ts";
import { interruption } from "../interruption.ts";
import { usageError } from "../walk.ts";
import { enrollMachine } from "./enroll.ts";

export default command({
  name: "bootstrap",
  description: "enroll with a bootstrap token; the same as enroll",
  hidden: true,
  args: {
    ...configFlags,
    "bootstrap-token": { type: "string", description: "token of an install command", valueHint: "TOKEN" },
    "bootstrap-token-file": { type: "string", description: "read that token from a file", valueHint: "FILE" },
    "config-file": { type: "string", description: "same as --config", valueHint: "FILE" },
    "non-interactive": { type: "boolean", description: "taken for granted" },
  },
  async run({ args }): Promise<ExitCode | void> {
    const { signal } = interruption();
    const token = await readToken(args);
    if (token === undefined) throw usageError("--bootstrap-token is missing", ["bootstrap"]);
    const config = await configFrom(
      { ...args, config: args.config ?? args["config-file"] },
      { requireFile: false },
    );
    return enrollMachine(config, { ...args, token, isToStart: true }, signal);
  },
});
