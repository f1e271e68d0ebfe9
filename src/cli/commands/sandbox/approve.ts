// `sandbox approve`: approves the enrollment that a machine asked for.
import { NodeDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { print, printJson } from "../../ui/output.ts";
import { operator, operatorArgs } from "./client.ts";

export default command({
  name: "approve",
  description: "approve the enrollment of a machine",
  examples: ["sandbox approve q9XkT…", "sandbox approve q9XkT… --name web-01"],
  args: {
    enrollment: {
      type: "positional",
      required: true,
      description: "the token that `enroll` printed, or the enrollment's id",
    },
    email: { type: "string", description: "must be the one that the machine gave (default: that one)" },
    name: { type: "string", description: "name of the node (default: its hostname)" },
    ...operatorArgs,
  },
  async run({ args }) {
    const node = await operator(args).call("POST", "/enrollments/approve", NodeDocument, {
      token: args.enrollment,
      email: args.email,
      name: args.name,
    });
    if (args.json) return printJson(node);
    print(`approved ${node.name} (${node.id})`);
  },
});
