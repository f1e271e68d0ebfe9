// `sandbox install-token`: creates the bootstrap token of a one-click install and prints it once.
import { AgentError } from "../../../lib/agent-error.ts";
import { InstallDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { note, print, printJson } from "../../ui/output.ts";
import { asCalled } from "../../program.ts";
import { operator, operatorArgs } from "./client.ts";

export default command({
  name: "install-token",
  description: "create a bootstrap token for the installer",
  examples: ["sandbox install-token web-01"],
  args: {
    hostname: { type: "positional", required: true, description: "name of the future node" },
    ...operatorArgs,
  },
  async run({ args }) {
    const sandbox = operator(args);
    const install = await sandbox.call("POST", "/node-installs", InstallDocument, {
      node_name: args.hostname,
    });
    if (install.token === undefined) throw new AgentError("sandbox.answer", "the sandbox sent no token");
    if (args.json) return printJson(install);
    print(install.token);
    note(`valid until ${install.expires_at}; use it once, on standard input of:`);
    note(
      asCalled(
        `  noderax-agent enroll --api-url ${sandbox.url} --hostname ${args.hostname} --bootstrap-token -`,
      ),
    );
  },
});
