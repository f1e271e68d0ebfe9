// `dev`: runs a sandbox and an agent enrolled in it, in one process and a temporary directory. Where there is Docker, the agent
// runs projects, too. All of it is removed at the end.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { steadyNow } from "../../lib/clock.ts";
import { type Agent, startAgent } from "../../agent/agent.ts";
import { AgentError, type ExitCode, messageOf } from "../../lib/agent-error.ts";
import { milliseconds, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { options } from "../../config/options.ts";
import { loadConfig } from "../../config/load.ts";
import { createHttp } from "../../control/http.ts";
import { publicApi } from "../../control/noderax-api.ts";
import { awaitApproval, initiate } from "../../identity/enrollment.ts";
import { writeIdentity } from "../../identity/identity-file.ts";
import { currentAccount } from "../../platform/account.ts";
import { version } from "../../platform/build.ts";
import { readHost } from "../../platform/host.ts";
import { createLog } from "../../platform/log.ts";
import type { Sandbox } from "../../sandbox/sandbox.ts";
import { command } from "../command.ts";
import { type DevDocker, findDocker } from "./dev/docker.ts";
import { interruption } from "../interruption.ts";
import { note, paint, print, warn } from "../ui/output.ts";
import { programName } from "../program.ts";
import { announceAgent } from "../running-agent.ts";
import { announceOrWarn, serveSandbox } from "./sandbox/serve.ts";

const NODE = "demo-1";
const EMAIL = "you@example.com";
const LOOPBACK = "127.0.0.1";

export default command({
  name: "dev",
  description: "try it: run a sandbox control plane and an enrolled agent on this machine",
  examples: ["dev", "dev --port 0 --json"],
  args: {
    port: {
      type: "string",
      description: "port to listen on, 0 for any (default 8080, or any when taken)",
      valueHint: "N",
    },
    json: {
      type: "boolean",
      description: "print one line of JSON when ready: url, operator_token, node_name, docker",
    },
    verbose: { type: "boolean", description: "show the log of the agent" },
  },
  async run({ args }): Promise<ExitCode> {
    const begun = steadyNow();
    const second = Promise.withResolvers<void>();
    // A second Ctrl-C still removes everything, but does not wait for projects to stop.
    const { code: stopped } = interruption({ onSecond: second.resolve, untilReaderLeaves: true });
    const directory = mkdtempSync(join(tmpdir(), "noderax-dev-"));
    const { DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH } = process.env;
    const dockerHost = DOCKER_HOST || options.docker_host.default;
    const looking = findDocker(dockerHost, { DOCKER_TLS_VERIFY, DOCKER_CERT_PATH });
    try {
      await using sandbox = await serveSandbox("dev", args.port);
      using _announced = announceOrWarn(sandbox);
      const docker = await looking;
      const projects = docker.problem === undefined ? { dockerHost } : undefined;
      const agent = await enrolledAgent(sandbox, { directory, verbose: args.verbose === true, projects });
      using _agent = announceAgent({
        state_file: stateFileIn(directory),
        api_url: sandbox.url,
        ...(projects && { server_url: sandbox.url }),
      });
      try {
        await Promise.race([online(sandbox), stopped]);
        if (projects) await Promise.race([ready(sandbox), stopped]);
        if (args.json) print(JSON.stringify(readyDocument(sandbox, docker)));
        else welcome(sandbox, docker, agent.status().caravanserai?.ingress?.address, steadyNow() - begun);
        const code = await stopped;
        if (!args.json) note(paint.dim("stopping …"));
        return code;
      } finally {
        await Promise.all([agent.endTasks(), projects && Promise.race([emptied(sandbox), second.promise])]);
        await agent.stop(milliseconds(200));
        await sweep(docker, sandbox.projectNames());
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
});

const stateFileIn = (directory: string): string => join(directory, "state", "agent_identity.json");

/**
 * Enrolls over HTTP, as every machine does, and starts the agent with its own configuration: this machine's is not read.
 * Tasks run as the user who called `dev`, under sudo as the user who called that.
 */
async function enrolledAgent(
  sandbox: Sandbox,
  {
    directory,
    verbose,
    projects,
  }: {
    readonly directory: string;
    readonly verbose: boolean;
    readonly projects: { readonly dockerHost: string } | undefined;
  },
): Promise<Agent> {
  const configFile = join(directory, "config.json");
  const stateFile = stateFileIn(directory);
  const document = {
    api_url: sandbox.url,
    state_file: stateFile,
    task_user: process.env["SUDO_USER"] ?? currentAccount().name,
    task_kill_grace: "2s",
    ...(projects && {
      server_url: sandbox.url,
      node_name: NODE,
      docker_host: projects.dockerHost,
      project_poll_interval: "1s",
      advertise_ip: LOOPBACK,
      listen_address: LOOPBACK,
      listen_port: 0,
      proxy_listen_addr: `${LOOPBACK}:0`,
    }),
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
  const end = steadyNow() + seconds(30);
  while (sandbox.node(NODE).status !== "online") {
    if (steadyNow() > end) throw new AgentError("dev.offline", `${NODE} did not come online within 30 s`);
    await sleep(milliseconds(10));
  }
}

/** Longer than a node takes to register. After this, `dev` starts without a node that is Ready. */
const READY_LIMIT = seconds(5);

async function ready(sandbox: Sandbox): Promise<void> {
  const end = steadyNow() + READY_LIMIT;
  while (!isReady(sandbox) && steadyNow() < end) await sleep(milliseconds(10));
}

const isReady = (sandbox: Sandbox): boolean =>
  sandbox.caraNodes().some(({ metadata, status }) => metadata.name === NODE && status.state === "Ready");

/** Containers have 10 s to stop; after this the rest is removed by force. */
const EMPTY_LIMIT = seconds(12);

/** Waits until the agent has removed all projects, as after `sandbox delete`. */
async function emptied(sandbox: Sandbox): Promise<void> {
  const end = steadyNow() + EMPTY_LIMIT;
  sandbox.terminateProjects();
  const isLeft = (): boolean => sandbox.projects().some(({ status }) => status.phase === "Terminating");
  while (isLeft() && steadyNow() < end) await sleep(milliseconds(20));
}

async function sweep(docker: DevDocker, projects: ReadonlySet<string>): Promise<void> {
  if (projects.size === 0) return;
  try {
    const left = await docker.sweep(projects);
    if (left.length > 0) warn(`these containers remain:  docker rm --force ${left.join(" ")}`);
  } catch (error) {
    warn(`containers of ${[...projects].join(", ")} may remain: ${messageOf(error)}`);
  }
}

function readyDocument({ url, operatorToken }: Sandbox, { version, problem }: DevDocker): object {
  const docker = { version: version ?? null, projects: problem === undefined, problem: problem ?? null };
  return { url, operator_token: operatorToken, node_name: NODE, docker };
}

function welcome(
  sandbox: Sandbox,
  docker: DevDocker,
  ingress: string | null | undefined,
  took: number,
): void {
  const program = programName();
  print(`noderax-agent ${version} · sandbox`);
  print();
  print(`  control plane   ${paint.cyan(sandbox.url)}     (sandbox: everything stays on this machine)`);
  print(`  node            ${NODE} · ${paint.green("online")} · ${(took / 1_000).toFixed(2)} s after start`);
  print(`  docker          ${dockerLine(docker, isReady(sandbox))}`);
  if (ingress)
    print(`  ingress         http://${ingress}     (host names of projects: web.example-web.local)`);
  print();
  print("  Type in a second terminal, in this directory:");
  print(`        ${program} sandbox task ${NODE} 'uname -a'`);
  print(`        ${program} sandbox terminal ${NODE}`);
  print(`        ${program} sandbox nodes`);
  if (docker.problem === undefined) {
    print(`        ${program} sandbox apply --example web --wait`);
    print(`        ${program} logs example-web/web --follow`);
    print(`        ${program} forward example-web/web 0:80`);
  }
  print("  Ctrl-C stops everything and removes its temporary data.");
}

/** Words the state of Docker: "Engine 28.2 · projects enabled". */
function dockerLine({ version, problem }: DevDocker, isReady: boolean): string {
  if (version === undefined) return `projects are off (${problem})`;
  const engine = `Engine ${version.split(".").slice(0, 2).join(".")}`;
  if (problem !== undefined) return `${engine} · projects are off (${problem})`;
  return `${engine} · ${paint.green("projects enabled")}${isReady ? "" : ", but the node is not Ready yet"}`;
}
