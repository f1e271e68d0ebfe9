// `sandbox nodes`: lists the nodes of the Noderax side.
import * as v from "valibot";
import { NodeDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { age, note, print, printJson, table } from "../../ui/output.ts";
import { asCalled } from "../../program.ts";
import { operator, operatorArgs } from "./client.ts";

export default command({
  name: "nodes",
  description: "list the nodes of the Noderax side",
  examples: ["sandbox nodes", "sandbox nodes --json"],
  args: operatorArgs,
  async run({ args }) {
    const nodes = await operator(args).call("GET", "/nodes", v.array(NodeDocument));
    if (args.json) return printJson(nodes);
    if (nodes.length === 0)
      return note(asCalled("no nodes yet; enroll one:  noderax-agent enroll --api-url <url>"));
    const rows = nodes.map((node) => [
      node.name,
      node.maintenance ? `${node.status}, maintenance` : node.status,
      node.last_seen_at === null ? "never" : `${age(Date.parse(node.last_seen_at))} ago`,
      node.agent_version ?? "-",
      node.id,
    ]);
    for (const line of table(rows, ["name", "status", "seen", "version", "id"])) print(line);
  },
});
