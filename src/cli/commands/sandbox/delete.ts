// `sandbox delete`: terminates a project, or removes a node of the Caravanserai side.
import * as v from "valibot";
import { command } from "../../command.ts";
import { print, printJson } from "../../ui/output.ts";
import { operator, operatorArgs } from "./client.ts";
import { ProjectAnswer, pathOf, resourceKind } from "./resources.ts";

/** The Terminating project, or `ok` when its record is removed already. */
const Deleted = v.union([ProjectAnswer, v.object({ ok: v.literal(true) })]);

export default command({
  name: "delete",
  description: "terminate a project, or remove a node of the Caravanserai side",
  examples: ["sandbox delete project shop", "sandbox delete project shop --force", "sandbox delete node n1"],
  args: {
    kind: { type: "positional", required: true, description: "project or node", valueHint: "project|node" },
    name: { type: "positional", required: true, description: "which one" },
    force: {
      type: "boolean",
      description: "remove a project's record at once; its node notices by itself",
    },
    ...operatorArgs,
  },
  async run({ args }) {
    const kind = resourceKind(args.kind, "delete");
    const query = kind === "projects" && args.force ? "?force=true" : "";
    const answer = await operator(args).call("DELETE", pathOf(kind, args.name) + query, Deleted);
    if (args.json) return printJson(answer);
    if (!("status" in answer)) return print(`${kind === "nodes" ? "node" : "project"} ${args.name} removed`);
    print(`project ${args.name} ${answer.status.phase}; ${answer.status.nodeRef} removes its containers`);
  },
});
