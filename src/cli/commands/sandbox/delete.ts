// `sandbox delete`: ends a project, or makes the Caravanserai side forget a node.
import * as v from "valibot";
import { command } from "../../command.ts";
import { print, printJson } from "../../ui/output.ts";
import { operator, operatorArgs } from "./client.ts";
import { ProjectAnswer, kindOf, pathOf } from "./resources.ts";

/** The project while it is being removed, nothing when its record is gone. */
const Deleted = v.union([ProjectAnswer, v.object({ ok: v.literal(true) })]);

export default command({
  name: "delete",
  description: "end a project, or forget a node of the Caravanserai side",
  examples: ["sandbox delete project shop", "sandbox delete project shop --force", "sandbox delete node n1"],
  args: {
    kind: { type: "positional", required: true, description: "project or node" },
    name: { type: "positional", required: true, description: "which one" },
    force: {
      type: "boolean",
      description: "remove a project's record at once; its node notices by itself",
    },
    ...operatorArgs,
  },
  async run({ args }) {
    const kind = kindOf(args.kind, "delete");
    const query = kind === "projects" && args.force ? "?force=true" : "";
    const answer = await operator(args).call("DELETE", pathOf(kind, args.name) + query, Deleted);
    if (args.json) return printJson(answer);
    if (!("status" in answer)) return print(`${kind === "nodes" ? "node" : "project"} ${args.name} removed`);
    print(`project ${args.name} ${answer.status.phase}; ${answer.status.nodeRef} removes its containers`);
  },
});
