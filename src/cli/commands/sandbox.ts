// `sandbox`: runs both control planes in miniature in the foreground. Its subcommands operate a running one.
import { existsSync, readFileSync } from "node:fs";
import { isLoopbackHost } from "../../lib/address.ts";
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { writeFileAtomic } from "../../platform/atomic-file.ts";
import { version } from "../../platform/build.ts";
import { createLog } from "../../platform/log.ts";
import type { Sandbox, SandboxOptions } from "../../sandbox/sandbox.ts";
import { InvalidDocument, parseFaults } from "../../sandbox/settings.ts";
import { urlSafeToken } from "../../sandbox/token.ts";
import { command } from "../command.ts";
import { interruption } from "../interruption.ts";
import { note, paint, print, warn } from "../ui/output.ts";
import { programName } from "../program.ts";
import { usageError } from "../walk.ts";
import { faultChange } from "./sandbox/faults.ts";
import { announceOrWarn, serveSandbox } from "./sandbox/serve.ts";

export default command({
  name: "sandbox",
  description: "run both control planes in miniature, or operate running ones",
  examples: [
    "sandbox",
    "sandbox --port 9000 --data ./sandbox-data",
    "sandbox --json",
    "sandbox approve q9XkT…",
    "sandbox task demo-1 'uname -a'",
    "sandbox terminal demo-1",
    "sandbox apply -f project.yaml --wait",
    "sandbox get projects",
  ],
  args: {
    port: { type: "string", description: "port to listen on, 0 for any (default 8080, or any when taken)" },
    host: { type: "string", description: "address to listen on", default: "127.0.0.1" },
    data: {
      type: "string",
      description: "store nodes, tasks and projects in this directory",
      valueHint: "dir",
    },
    releases: {
      type: "string",
      description: "serve this directory as a release place, under /releases",
      valueHint: "dir",
    },
    json: { type: "boolean", description: "print one line of JSON when ready: url and operator_token" },
    "operator-token-file": {
      type: "string",
      description: "read the operator token from this file; if it does not exist, write a new one there",
      valueHint: "file",
    },
    "tls-cert": { type: "string", description: "serve HTTPS with this certificate (PEM)", valueHint: "file" },
    "tls-key": { type: "string", description: "and this key (PEM)", valueHint: "file" },
    "fault-delay": { type: "string", description: "wait before every agent request", valueHint: "200ms" },
    "fault-error-rate": {
      type: "string",
      description: "share of requests answered with 500",
      valueHint: "0…1",
    },
    "fault-lost-answers": {
      type: "string",
      description: "share of requests that are processed but not answered",
      valueHint: "0…1",
    },
    "fault-drop-after": {
      type: "string",
      description: "close every connection after this many requests",
      valueHint: "count",
    },
  },
  subCommands: {
    approve: () => import("./sandbox/approve.ts"),
    nodes: () => import("./sandbox/nodes.ts"),
    task: () => import("./sandbox/task.ts"),
    packages: () => import("./sandbox/packages.ts"),
    show: () => import("./sandbox/show.ts"),
    scan: () => import("./sandbox/scan.ts"),
    "root-access": () => import("./sandbox/root-access.ts"),
    maintenance: () => import("./sandbox/maintenance.ts"),
    rollout: () => import("./sandbox/rollout.ts"),
    cancel: () => import("./sandbox/cancel.ts"),
    terminal: () => import("./sandbox/terminal.ts"),
    apply: () => import("./sandbox/apply.ts"),
    get: () => import("./sandbox/get.ts"),
    delete: () => import("./sandbox/delete.ts"),
    faults: () => import("./sandbox/faults.ts"),
    "install-token": () => import("./sandbox/install-token.ts"),
  },
  async run({ args }) {
    const operatorToken = tokenFile(args["operator-token-file"]);
    const options: SandboxOptions = {
      host: args.host,
      faults: faultsOf(args),
      log: createLog({ level: "info", format: args.json ? "json" : "human", write: note }),
      ...(args.data === undefined ? {} : { data: args.data }),
      ...(args.releases === undefined ? {} : { releases: args.releases }),
      ...(operatorToken === undefined ? {} : { operatorToken }),
      ...tlsOf(args["tls-cert"], args["tls-key"]),
    };
    const { code: stopped } = interruption();
    await using sandbox = await serveSandbox("sandbox", args.port, options);
    using _announced = announceOrWarn(sandbox);
    if (args.json) print(JSON.stringify({ url: sandbox.url, operator_token: sandbox.operatorToken }));
    else welcome(sandbox, args.data);
    warnIfOpen(args.host, options.tls !== undefined);
    // Ctrl-C is the normal end: exit code 0.
    await stopped;
  },
});

function welcome({ url }: Sandbox, data: string | undefined): void {
  const program = programName();
  print(`noderax-agent ${version} · sandbox`);
  print();
  print(`  control plane   ${paint.cyan(url)}`);
  print(`  data            ${data ?? "in memory, lost at the end"}`);
  print("  operator        commands of this user on this machine need no token");
  print();
  print(`  Try:  ${program} enroll --api-url ${url} --email you@example.com`);
  print(`        ${program} sandbox approve <token>`);
  print(`        ${program} sandbox task <node> 'uname -a'`);
  print("  Ctrl-C stops it.");
}

function warnIfOpen(host: string, tls: boolean): void {
  if (isLoopbackHost(host)) return;
  warn(
    tls
      ? `anyone who can reach ${host} may ask to be enrolled`
      : `${host} is not a loopback address: enrollment tokens and node credentials cross the network in clear text (use --tls-cert and --tls-key)`,
  );
}

function tlsOf(cert: string | undefined, key: string | undefined): Pick<SandboxOptions, "tls"> {
  if (cert === undefined && key === undefined) return {};
  if (cert === undefined || key === undefined) throw usage("--tls-cert and --tls-key must be given together");
  return { tls: { cert: readFile(cert), key: readFile(key) } };
}

/**
 * Reads the operator token, or writes a new one with mode 0600. `undefined` without a path. Throws "sandbox.token" for fewer than 16
 * characters: others could guess it.
 */
function tokenFile(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  if (!existsSync(path)) {
    const token = urlSafeToken();
    writeFileAtomic(path, `${token}\n`);
    return token;
  }
  const token = readFile(path).trim();
  if (/^\S{16,}$/.test(token)) return token;
  throw new AgentError("sandbox.token", `${path} contains no operator token`, {
    hint: "Write at least 16 characters without blanks into it, or remove it to get a new one.",
  });
}

function readFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new AgentError("sandbox.file", `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

function faultsOf(args: {
  readonly "fault-delay"?: string | undefined;
  readonly "fault-error-rate"?: string | undefined;
  readonly "fault-lost-answers"?: string | undefined;
  readonly "fault-drop-after"?: string | undefined;
}): NonNullable<SandboxOptions["faults"]> {
  const change = faultChange({
    delay: args["fault-delay"],
    "error-rate": args["fault-error-rate"],
    "lost-answers": args["fault-lost-answers"],
    "drop-after": args["fault-drop-after"],
  });
  try {
    return parseFaults(change);
  } catch (error) {
    if (error instanceof InvalidDocument) throw usage(`--fault-${error.message.replaceAll("_", "-")}`);
    throw error;
  }
}

const usage = (message: string): AgentError => usageError(message, ["sandbox"]);
