// `config init`: writes an example configuration, every setting with what it means, to start from.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { exampleConfig } from "../../../config/describe.ts";
import { AgentError, exit } from "../../../lib/agent-error.ts";
import { writeFileAtomic } from "../../../platform/atomic-file.ts";
import { command } from "../../command.ts";
import { print } from "../../ui/output.ts";

export default command({
  name: "init",
  description: "write an example configuration with every setting and its meaning",
  examples: ["config init", "config init /etc/noderax-agent/config.yaml", "config init - > example.yaml"],
  args: {
    file: {
      type: "positional",
      required: false,
      description: "where to (default: ./config.yaml); - prints it",
    },
  },
  run({ args }): void {
    const text = exampleConfig();
    if (args.file === "-") return print(text.trimEnd());
    const path = resolve(args.file ?? "config.yaml");
    if (!/\.ya?ml$/i.test(path))
      throw new AgentError(
        "cli.usage",
        `${path}: an example with comments is YAML, so its name ends on .yaml`,
        {
          hint: "JSON has no comments. The agent reads both.",
          exit: exit.usage,
        },
      );
    if (existsSync(path))
      throw new AgentError("config.exists", `${path} is there already`, {
        hint: "Name another file, or print it:  noderax-agent config init -",
      });
    writeFileAtomic(path, text, 0o600);
    print(`written to ${path}: every line is a comment; remove the # of what you change`);
  },
});
