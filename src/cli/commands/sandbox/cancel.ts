// `sandbox cancel`: cancels a queued task at once, a running one when its agent has stopped it.
import { TaskDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { print, printJson } from "../../ui/output.ts";
import { operator, operatorArgs } from "./client.ts";

export default command({
  name: "cancel",
  description: "cancel a task",
  examples: ["sandbox cancel 7c1e", "sandbox cancel 7c1e --reason 'wrong host'"],
  args: {
    task: { type: "positional", required: true, description: "the task's id, or its beginning" },
    reason: { type: "string", description: "shown with the task" },
    ...operatorArgs,
  },
  async run({ args }) {
    const path = `/tasks/${encodeURIComponent(args.task)}/cancel`;
    const task = await operator(args).call("POST", path, TaskDocument, { reason: args.reason });
    if (args.json) return printJson(task);
    print(
      task.status === "cancelled"
        ? `${task.id} cancelled`
        : `${task.id} is running; its agent is told to stop it`,
    );
  },
});
