// `version`: prints version, commit, build date and architecture, or the licences.
import { arch } from "node:os";
import { AgentError } from "../../lib/agent-error.ts";
import { buildDate, commit, version } from "../../platform/build.ts";
import { command } from "../command.ts";
import { print, printJson } from "../ui/output.ts";

export default command({
  name: "version",
  description: "print version, commit and build date",
  examples: ["version", "version --json", "version --licenses"],
  args: {
    json: { type: "boolean", description: "print one JSON document" },
    licenses: { type: "boolean", description: "print the licences of everything in the executable" },
  },
  async run({ args }) {
    if (args.licenses) return printLicenses();
    const machine = arch() === "x64" ? "amd64" : arch();
    if (args.json)
      return printJson({ version, commit, built: buildDate, os: process.platform, arch: machine });
    print(`noderax-agent ${version} (commit ${commit}, built ${buildDate}, ${process.platform}/${machine})`);
  },
});

async function printLicenses(): Promise<void> {
  const { licenses } = await import("../../platform/licenses.ts");
  const text = licenses();
  if (text === undefined)
    throw new AgentError("version.licenses", "only the compiled executable carries the licences", {
      hint: "npm run build  makes it.",
    });
  print(text.trimEnd());
}
