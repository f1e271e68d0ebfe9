// `sandbox maintenance`: keeps new work away from a node, or gives it work again.
import { NodeDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { print, printJson } from "../../ui/output.ts";
import { usageError } from "../../walk.ts";
import { operator, operatorArgs } from "./client.ts";

export default command({
  name: "maintenance",
  description: "keep new tasks away from a node",
  examples: ["sandbox maintenance demo-1 on", "sandbox maintenance demo-1 off"],
  args: {
    node: { type: "positional", required: true, description: "the node's name or id" },
    state: { type: "positional", required: true, description: "on or off" },
    ...operatorArgs,
  },
  async run({ args }) {
    if (args.state !== "on" && args.state !== "off")
      throw usageError(`maintenance is on or off, not ${args.state}`, ["sandbox", "maintenance"]);
    const path = `/nodes/${encodeURIComponent(args.node)}/maintenance`;
    const node = await operator(args).call("PUT", path, NodeDocument, { enabled: args.state === "on" });
    if (args.json) return printJson(node);
    print(
      `${node.name} ${node.maintenance ? "is in maintenance: it gets no new tasks" : "gets tasks again"}`,
    );
  },
});
