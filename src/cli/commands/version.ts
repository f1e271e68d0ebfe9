// `version`: prints version, commit, build date and architecture.
import { arch } from "node:os";
import { buildDate, commit, version } from "../../platform/build.ts";
import { command } from "../command.ts";
import { print, printJson } from "../ui/output.ts";

export default command({
  name: "version",
  description: "print version, commit and build date",
  examples: ["version", "version --json"],
  args: { json: { type: "boolean", description: "print one JSON document" } },
  run({ args }) {
    const machine = arch() === "x64" ? "amd64" : arch();
    if (args.json)
      return printJson({ version, commit, built: buildDate, os: process.platform, arch: machine });
    print(`noderax-agent ${version} (commit ${commit}, built ${buildDate}, ${process.platform}/${machine})`);
  },
});
