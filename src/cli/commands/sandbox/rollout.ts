// `sandbox rollout`: updates nodes one after the other, as the roll-out screen does, and stops at the first that fails.
import * as v from "valibot";
import { AgentError } from "../../../lib/agent-error.ts";
import { milliseconds } from "../../../lib/duration.ts";
import { sleep } from "../../../lib/loop.ts";
import { NodeDocument, UpdateDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { interruption } from "../../interruption.ts";
import { note, paint, print, printJson } from "../../ui/output.ts";
import { type Operator, operator, operatorArgs } from "./client.ts";

const POLL_INTERVAL = milliseconds(200);
const OVER = ["completed", "failed", "skipped", "cancelled"];

export default command({
  name: "rollout",
  description: "update nodes to a version, one after the other; stops at the first that fails",
  examples: [
    "sandbox rollout 0.3.0",
    "sandbox rollout 0.3.0 --node demo-1",
    "sandbox rollout 0.2.0 --rollback",
  ],
  args: {
    version: { type: "positional", required: true, description: "the version, as the release place has it" },
    node: { type: "string", description: "this node alone, by name or id (default: all that are online)" },
    rollback: { type: "boolean", description: "go back to it" },
    ...operatorArgs,
  },
  async run({ args }) {
    const sandbox = operator(args);
    const { signal } = interruption();
    const done: UpdateDocument[] = [];
    for (const { name } of await nodesOf(sandbox, args.version, args.node)) {
      const body = { node: name, target_version: args.version, rollback: args.rollback === true };
      const target = await followTarget(
        sandbox,
        name,
        await sandbox.call("POST", "/updates", UpdateDocument, body),
        signal,
      );
      done.push(target);
      if (target.status === "completed") continue;
      if (args.json) printJson(done);
      throw new AgentError(
        "sandbox.refused",
        `${name}: ${target.status}: ${target.message ?? "no reason was given"}`,
        {
          hint: "The roll-out is paused: run it again to go on with the nodes that have another version.",
        },
      );
    }
    if (args.json) printJson(done);
    else print(`${paint.green("✓")} ${done.length} nodes run ${args.version}`);
  },
});

/** The nodes that a roll-out takes: online, not in maintenance, with another version. */
async function nodesOf(
  sandbox: Operator,
  version: string,
  only: string | undefined,
): Promise<NodeDocument[]> {
  if (only !== undefined)
    return [await sandbox.call("GET", `/nodes/${encodeURIComponent(only)}`, NodeDocument)];
  const nodes = await sandbox.call("GET", "/nodes", v.array(NodeDocument));
  return nodes.filter(
    (node) => node.status === "online" && !node.maintenance && node.agent_version !== version,
  );
}

async function followTarget(
  sandbox: Operator,
  node: string,
  created: UpdateDocument,
  signal: AbortSignal,
): Promise<UpdateDocument> {
  let shown = "";
  for (let target = created; ; await sleep(POLL_INTERVAL, signal)) {
    const all = await sandbox.call("GET", "/updates", v.array(UpdateDocument));
    target = all.find(({ id }) => id === created.id) ?? target;
    const line = `${node}  ${target.status} ${target.progress_percent} %  ${target.message ?? ""}`;
    if (line !== shown) note(line);
    shown = line;
    if (OVER.includes(target.status) || signal.aborted) return target;
  }
}
