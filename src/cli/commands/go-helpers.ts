// What the root helpers of a Go agent still call, as long as they exist: refused, with what to do instead.
import { AgentError, exit } from "../../lib/agent-error.ts";
import { command } from "../command.ts";

const refusal = (what: string): AgentError =>
  new AgentError("go.helper", `${what} through a helper of the Go agent is not supported by this agent`, {
    hint: [
      "It needs no helpers: it runs as root itself. Take over this installation, which removes them:",
      "sudo noderax-agent install",
    ],
    exit: exit.refused,
  });

export const logScan = command({
  name: "log-scan",
  description: "what the Go agent's helper calls; refused",
  hidden: true,
  args: { request: { type: "string", description: "the helper's request", valueHint: "FILE" } },
  run() {
    throw refusal("a scan of logs");
  },
});
