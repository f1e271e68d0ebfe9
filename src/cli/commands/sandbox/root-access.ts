// `sandbox root-access`: sets what a node may do as root, and shows what the node has applied.
import { ROOT_PROFILES } from "../../../protocol/noderax/root-access.ts";
import { NodeDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { print, printJson } from "../../ui/output.ts";
import { usageError } from "../../walk.ts";
import { operator, operatorArgs } from "./client.ts";

export default command({
  name: "root-access",
  description: "set or show the root profile of a node",
  examples: [
    "sandbox root-access demo-1",
    "sandbox root-access demo-1 task",
    "sandbox root-access demo-1 off",
  ],
  args: {
    node: { type: "positional", required: true, description: "the node's name or id" },
    profile: { type: "positional", required: false, description: ROOT_PROFILES.join(", ") },
    ...operatorArgs,
  },
  async run({ args }) {
    const { profile } = args;
    if (profile !== undefined && !ROOT_PROFILES.some((known) => known === profile))
      throw usageError(`there is no root profile "${profile}": one of ${ROOT_PROFILES.join(", ")}`, PATH);
    const path = `/nodes/${encodeURIComponent(args.node)}`;
    const sandbox = operator(args);
    const node =
      profile === undefined
        ? await sandbox.call("GET", path, NodeDocument)
        : await sandbox.call("PUT", `${path}/root-access`, NodeDocument, { profile });
    if (args.json) return printJson(node.root_access);
    const { profile: wanted, applied_profile: applied, last_error: error, status } = node.root_access;
    print(
      `${node.name}: ${wanted} ${status === "applied" ? "is in force" : `is wanted, ${applied} is in force`}`,
    );
    if (error !== null) print(`  ${error}`);
  },
});

const PATH = ["sandbox", "root-access"];
