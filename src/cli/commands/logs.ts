// `logs`: prints what a service's container has written, as the agent of its node serves it.
import { epochOf, wallNow } from "../../lib/clock.ts";
import { askAgent, refusalError, readRefusal } from "../../peer/agent-client.ts";
import { AgentError, type ExitCode, exit } from "../../lib/agent-error.ts";
import { parseDuration } from "../../lib/duration.ts";
import { logsPath } from "../../protocol/caravanserai/tunnel.ts";
import { printAgentLog } from "../agent-log.ts";
import { command } from "../command.ts";
import { usageError } from "../walk.ts";
import { interruption } from "../interruption.ts";
import { copyOut, rawFlag } from "../ui/output.ts";
import { agentLocator, remoteAgentFlags, parseServiceName, warnOfClearToken } from "../remote-agent.ts";

export default command({
  name: "logs",
  description: "print what a service's container writes, or the agent's own log",
  examples: [
    "logs shop/web",
    "logs shop/web -f --tail 100",
    "logs shop/db --since 10m --timestamps",
    "logs --agent -f",
  ],
  args: {
    service: { type: "positional", required: false, description: "<project>/<service>" },
    agent: { type: "boolean", description: "the agent's own log instead, where it is a service" },
    follow: { type: "boolean", alias: "f", description: "continue with what it writes from now on" },
    tail: { type: "string", valueHint: "N", description: "only the last N lines (default: all)" },
    timestamps: { type: "boolean", alias: "t", description: "begin each line with its time" },
    since: {
      type: "string",
      valueHint: "TIME",
      description: "only what was written since: 10m ago, or a time like 2030-01-31T12:00:00Z",
    },
    raw: rawFlag,
    ...remoteAgentFlags,
  },
  async run({ args }): Promise<ExitCode | void> {
    if (args.agent === true && args.service !== undefined)
      throw usageError(`--agent shows the agent's own log: leave out ${args.service}, or --agent`, ["logs"]);
    if (args.agent === true) return printAgentLog(args);
    if (args.service === undefined) throw usageError("missing <service>, or --agent", ["logs"]);
    const { project, service } = parseServiceName(args.service);
    const query = queryOf(args, epochOf(wallNow()));
    const { signal, code } = interruption({ untilReaderLeaves: true });
    const agent = await (await agentLocator(args, project))(signal);
    warnOfClearToken(agent);
    const path = logsPath(project, service);
    // The answer to a followed log begins with its first line, maybe days later. This request shows a refusal at once.
    if (args.follow === true) {
      const answer = await ask(agent, `${path}?tail=0`, signal);
      // A connection that broke meanwhile makes it throw; the next request finds out whether the agent is still there.
      await answer.body?.cancel().catch(() => undefined);
    }
    const asked = query.size > 0 ? `${path}?${query.toString()}` : path;
    const response = await ask(agent, asked, signal, { mayWait: args.follow === true });
    const output = copyOut(args.raw);
    try {
      for await (const chunk of response.body ?? []) {
        await Promise.race([output.write(chunk), code]);
        if (signal.aborted) break;
      }
    } catch (error) {
      if (error instanceof AgentError) throw error;
      if (!signal.aborted)
        throw new AgentError("agent.lost", `the connection to ${agent.name} was lost`, {
          exit: exit.unreachable,
          cause: error,
        });
    }
    output.end();
    return signal.aborted ? code : undefined;
  },
});

/** Sends one request. Throws "agent.refused" for any answer but 200, and what `askAgent` throws. */
async function ask(...question: Parameters<typeof askAgent>): Promise<Response> {
  const response = await askAgent(...question);
  if (response.status !== 200) throw refusalError(await readRefusal(response), question[0]);
  return response;
}

export interface LogFlags {
  readonly follow?: boolean | undefined;
  readonly tail?: string | undefined;
  readonly timestamps?: boolean | undefined;
  readonly since?: string | undefined;
}

/** Builds the query; leaves out what was not given. `now` is in milliseconds since the epoch. Throws "cli.usage". */
export function queryOf({ follow, tail, timestamps, since }: LogFlags, now: number): URLSearchParams {
  const query = new URLSearchParams();
  if (follow === true) query.set("follow", "true");
  if (tail !== undefined) {
    if (!/^(\d{1,9}|all)$/.test(tail))
      throw wrong(`--tail: "${tail}" is not a number of lines`, "10, or all");
    query.set("tail", tail);
  }
  if (timestamps === true) query.set("timestamps", "true");
  if (since !== undefined) query.set("since", (parseMoment(since, now) / 1_000).toFixed(3));
  return query;
}

/** Parses a time, or an age before `now`, into milliseconds since the epoch. Throws "cli.usage". */
function parseMoment(text: string, now: number): number {
  const ago = parseDuration(text);
  if (ago !== undefined && ago >= 0) return now - ago;
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(at)) return Math.max(0, at);
  throw wrong(`--since: "${text}" is neither a duration nor a time`, "10m, 1h30m, 2030-01-31T12:00:00Z");
}

const wrong = (message: string, examples: string): AgentError =>
  new AgentError("cli.usage", message, { exit: exit.usage, hint: `For example:  ${examples}` });
