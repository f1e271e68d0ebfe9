// `config path`: lists the files that are read, and the one `config set` would write.
import { configFlags, sourcesFrom } from "../../config-flags.ts";
import { command } from "../../command.ts";
import { print, printJson, warn } from "../../ui/output.ts";

export default command({
  name: "path",
  description: "print which files are read and which would be written",
  examples: ["config path", "config path --json"],
  args: { ...configFlags, json: { type: "boolean", description: "print one JSON document" } },
  async run({ args }) {
    const sources = await sourcesFrom(args, { requireFile: false });
    const { files, warnings } = sources;
    for (const warning of warnings) warn(warning);
    const read = files.map(({ path }) => path);
    if (args.json) return printJson({ read, write: sources.savePath(), warnings });
    for (const path of read) print(`read   ${path}`);
    print(`write  ${sources.savePath()}`);
  },
});
