// `dev`: a sandbox and an agent enrolled in it, in one process and a temporary directory, to look at and to try.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Agent, startAgent } from "../agent.ts";
import { AgentError, type ExitCode, exit } from "../lib/agent-error.ts";
import { milliseconds, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import { loadConfig } from "../config/load.ts";
import { createHttp } from "../control/http.ts";
import { publicApi } from "../control/noderax-api.ts";
import { awaitApproval, initiate } from "../identity/enrollment.ts";
import { writeIdentity } from "../identity/identity-file.ts";
import { currentAccount } from "../platform/account.ts";
import { version } from "../platform/build.ts";
import { readHost } from "../platform/host.ts";
import { createLog } from "../platform/log.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { command } from "./command.ts";
import { note, paint, print } from "./output.ts";
import { programName } from "./program.ts";
import { announced, serveSandbox } from "./sandbox/serve.ts";

const NODE = "demo-1";
const EMAIL = "you@example.com";

export default command({
  name: "dev",
  description: "try it: a sandbox control plane and an enrolled agent, on this machine only",
  examples: ["dev", "dev --port 0 --json"],
  args: {
    port: {
      type: "string",
      description: "port to listen on, 0 for any (default 8080, or any when taken)",
      valueHint: "N",
    },
    json: {
      type: "boolean",
      description: "print one line of JSON when ready: url, operator_token, node_name",
    },
    verbose: { type: "boolean", description: "show the log of the agent" },
  },
  async run({ args }): Promise<ExitCode> {
    const begun = Date.now();
    const stopped = interrupted();
    const directory = mkdtempSync(join(tmpdir(), "noderax-dev-"));
    try {
      await using sandbox = await serveSandbox("dev", args.port);
      using _announced = announced(sandbox);
      const agent = await enrolledAgent(sandbox, directory, args.verbose === true);
      try {
        await Promise.race([online(sandbox), stopped]);
        if (args.json) {
          print(JSON.stringify({ url: sandbox.url, operator_token: sandbox.operatorToken, node_name: NODE }));
        } else welcome(sandbox, Date.now() - begun);
        const code = await stopped;
        if (!args.json) note(paint.dim("stopping …"));
        return code;
      } finally {
        await agent.endTasks();
        await agent.stop(milliseconds(200));
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
});

/**
 * Enrolls over the wire, as every machine does, and starts the agent with a configuration of its own: nothing of this
 * machine's is read. Tasks run as the person who typed `dev`.
 */
async function enrolledAgent(sandbox: Sandbox, directory: string, verbose: boolean): Promise<Agent> {
  const configFile = join(directory, "config.json");
  const stateFile = join(directory, "state", "agent_identity.json");
  const document = {
    api_url: sandbox.url,
    state_file: stateFile,
    task_user: process.env["SUDO_USER"] ?? currentAccount().name,
    task_kill_grace: "2s",
  };
  writeFileSync(configFile, JSON.stringify(document), { mode: 0o600 });
  const { settings } = await loadConfig({ configFile, env: {}, cwd: directory });
  const api = publicApi(
    createHttp({ baseUrl: sandbox.url, authorities: () => "" }),
    settings.request_timeout,
  );
  const never = new AbortController().signal;
  const pending = await initiate(
    api,
    { apiUrl: sandbox.url, email: EMAIL, hostname: NODE, host: readHost() },
    never,
  );
  sandbox.approve({ token: pending.token, email: EMAIL, name: NODE });
  const hooks = { onWait() {}, superseded: () => false };
  writeIdentity(stateFile, await awaitApproval(api, pending, hooks, never), new Date());
  const log = createLog({ level: verbose ? "info" : "warn", format: "human", write: note });
  return startAgent({ settings: { ...settings, api_url: sandbox.url }, log, warnings: [] });
}

async function online(sandbox: Sandbox): Promise<void> {
  const end = Date.now() + seconds(30);
  while (sandbox.node(NODE).status !== "online") {
    if (Date.now() > end) throw new AgentError("dev.offline", `${NODE} did not come online within 30 s`);
    await sleep(milliseconds(10));
  }
}

function interrupted(): Promise<ExitCode> {
  return new Promise((resolve) => {
    // Not `once`: an impatient second Ctrl-C would leave tasks and data behind, and the clean-up has limits of its own.
    process.on("SIGINT", () => resolve(exit.interrupted));
    for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve(exit.done));
  });
}

function welcome({ url }: Sandbox, took: number): void {
  const program = programName();
  print(`noderax-agent ${version} · sandbox`);
  print();
  print(`  control plane   ${paint.cyan(url)}     (sandbox: everything stays on this machine)`);
  print(`  node            ${NODE} · ${paint.green("online")} · ${(took / 1_000).toFixed(2)} s after start`);
  print();
  print("  Type in a second terminal, in this directory:");
  print(`        ${program} sandbox task ${NODE} 'uname -a; uptime'`);
  print(`        ${program} sandbox terminal ${NODE}`);
  print(`        ${program} sandbox nodes`);
  print("  Ctrl-C stops everything and removes its temporary data.");
}
