// `sandbox apply`: creates or changes projects and nodes from a file, and waits for projects with --wait.
import * as v from "valibot";
import { AgentError, type ExitCode, exit } from "../../../lib/agent-error.ts";
import { type Duration, humanDuration, milliseconds, seconds } from "../../../lib/duration.ts";
import { sleep } from "../../../lib/loop.ts";
import { command } from "../../command.ts";
import { note, print, printJson, warn } from "../../ui/output.ts";
import { asCalled } from "../../program.ts";
import { usageError } from "../../walk.ts";
import { type Operator, operator, operatorArgs, timeoutOf } from "./client.ts";
import { EXAMPLES, exampleProject } from "./examples.ts";
import { type ReadManifest, readManifests } from "./manifests.ts";
import { NodeAnswer, ProjectAnswer, getProject, reasonOf } from "./resources.ts";

/** How often --wait asks for a project. */
const POLL_INTERVAL = milliseconds(150);
/** Without news for this long, print where to look: an agent reports results, not what it waits for. */
const QUIET_LIMIT = seconds(5);

/** A started or restarted agent is Ready within 2 s: a project without a Ready node for this long needs help. */
const BLOCKED_LIMIT = seconds(5);

const Applied = v.object({
  result: v.picklist(["created", "changed", "unchanged"]),
  resource: v.variant("kind", [ProjectAnswer, NodeAnswer]),
});
type Applied = v.InferOutput<typeof Applied>;

export default command({
  name: "apply",
  description: "create or change projects and nodes from a file",
  examples: [
    "sandbox apply -f project.yaml --wait",
    "sandbox apply -f - < project.yaml",
    "sandbox apply --example web",
    "sandbox apply --example web --image registry.local/nginx:1",
  ],
  args: {
    file: {
      type: "string",
      alias: "f",
      description: "YAML or JSON, one document or several; - is standard input",
      valueHint: "file",
    },
    example: {
      type: "enum",
      options: [...EXAMPLES],
      description:
        "a ready project instead of a file: one web server, nginx:alpine from Docker Hub without --image",
      valueHint: EXAMPLES.join("|"),
    },
    image: {
      type: "string",
      description: "image for the example; it must run without a command",
      valueHint: "image",
    },
    force: { type: "boolean", description: "change the spec even while the project is Scheduled or Running" },
    wait: {
      type: "boolean",
      description: "wait until every project is Running or Failed, or blocked",
    },
    timeout: { type: "string", description: "stop waiting after this long", valueHint: "1m" },
    ...operatorArgs,
  },
  async run({ args }): Promise<ExitCode> {
    const timeout = timeoutOf(args.timeout, PATH);
    const manifests = await manifestsOf(args);
    for (const warning of manifests.flatMap(({ warnings }) => warnings)) warn(`${warning}; it has no effect`);
    const sandbox = operator(args);
    const applied: Applied[] = [];
    for (const manifest of manifests) {
      const one = await apply(sandbox, manifest, args.force === true);
      applied.push(one);
      if (!args.json) print(`${manifest.kind.toLowerCase()} ${manifest.name} ${one.result}`);
    }
    const ended = args.wait ? await settled(sandbox, applied, timeout) : applied;
    if (args.json) printJson(ended);
    const failed = ended.some(
      ({ resource }) => resource.kind === "Project" && resource.status.phase === "Failed",
    );
    return args.wait && failed ? exit.failed : exit.done;
  },
});

async function manifestsOf(args: {
  readonly file?: string | undefined;
  readonly example?: (typeof EXAMPLES)[number] | undefined;
  readonly image?: string | undefined;
}): Promise<ReadManifest[]> {
  const { file, example, image } = args;
  if ((file === undefined) === (example === undefined)) throw usage("give either --file or --example");
  if (image !== undefined && example === undefined) throw usage("--image needs --example");
  if (file !== undefined) return readManifests(file);
  const document = exampleProject(example ?? "web", image);
  return [{ kind: "Project", name: `example-${example ?? "web"}`, document, warnings: [] }];
}

function apply(sandbox: Operator, { kind, document }: ReadManifest, force: boolean): Promise<Applied> {
  const path = kind === "Project" ? `/cara/projects${force ? "?force=true" : ""}` : "/cara/nodes";
  return sandbox.call("PUT", path, Applied, document).catch((error: unknown) => {
    if (!(error instanceof AgentError) || error.status !== 409 || force || kind === "Node") throw error;
    // --force does not change a Terminating project; it will be removed soon.
    const hint = error.message.includes("Terminating") ? undefined : "To change it anyway, add --force.";
    throw new AgentError(error.code, error.message, { status: 409, exit: error.exit, hint, cause: error });
  });
}

/** Polls until every project is Running or Failed, and prints each change. */
async function settled(
  sandbox: Operator,
  applied: readonly Applied[],
  timeout: Duration,
): Promise<Applied[]> {
  const deadline = performance.now() + timeout;
  return Promise.all(
    applied.map(async ({ result, resource }): Promise<Applied> => {
      if (resource.kind === "Node") return { result, resource };
      // A Failed project keeps its phase when its spec changes, until its node reports again.
      const isStale = result === "changed" && resource.status.phase === "Failed";
      const since = isStale ? resource.metadata.updatedAt : undefined;
      const { name } = resource.metadata;
      return { result, resource: await settledProject(sandbox, name, deadline, since) };
    }),
  );
}

/** Polls one project. A failure not newer than `since`, its last change, is of the old spec and does not count. */
async function settledProject(
  sandbox: Operator,
  name: string,
  deadline: number,
  since?: string,
): Promise<ProjectAnswer> {
  let printed = "";
  let hintAt = 0;
  let blockedSince: number | undefined;
  for (;;) {
    const project = await getProject(sandbox, name);
    const { phase, nodeRef } = project.status;
    const isStale = phase === "Failed" && project.metadata.updatedAt === since;
    const reason = isStale ? "" : reasonOf(project);
    const line = isStale
      ? `${name}: waits for ${nodeRef} to try the new spec`
      : `${name}: ${phase}${reason === "" ? "" : `  ${reason}`}`;
    if (line !== printed) {
      note(line);
      hintAt = performance.now() + QUIET_LIMIT;
    }
    printed = line;
    if (performance.now() > hintAt) {
      note(`  nothing new for ${humanDuration(QUIET_LIMIT)}; ${asCalled(whereToLook(nodeRef))}`);
      hintAt = Infinity;
    }
    if (phase === "Running" || (phase === "Failed" && !isStale)) return project;
    const blocked = blockedBy(project, await sandbox.call("GET", "/cara/nodes", v.array(NodeAnswer)));
    blockedSince = blocked === undefined ? undefined : (blockedSince ?? performance.now());
    if (blocked !== undefined && performance.now() - (blockedSince ?? 0) > BLOCKED_LIMIT) {
      throw new AgentError("sandbox.blocked", `project ${name} is ${phase}: ${blocked}`, {
        hint: [
          "It continues once a node is Ready. To list the nodes:  noderax-agent sandbox get nodes",
          "To make this machine a node, run an agent with --server-url, or:  noderax-agent dev",
        ],
      });
    }
    if (performance.now() > deadline) {
      throw new AgentError("sandbox.timeout", `project ${name} is still ${phase}`, {
        hint: `To see it later:  noderax-agent sandbox get project ${name}`,
      });
    }
    await sleep(POLL_INTERVAL);
  }
}

/** Returns why a project cannot continue without help; `undefined` when it can. */
export function blockedBy(
  { status: { nodeRef } }: Pick<ProjectAnswer, "status">,
  nodes: readonly Pick<NodeAnswer, "metadata" | "spec" | "status">[],
): string | undefined {
  const stateOf = ({ spec, status }: (typeof nodes)[number]): string =>
    spec.unschedulable && status.state === "Ready" ? "unschedulable" : status.state;
  const own = nodes.find(({ metadata }) => metadata.name === nodeRef);
  if (nodeRef !== "") {
    const state = own?.status.state ?? "not known any more";
    return state === "Ready" || state === "Draining" ? undefined : `its node ${nodeRef} is ${state}`;
  }
  if (nodes.length === 0) return "there is no node";
  if (nodes.some((node) => stateOf(node) === "Ready")) return undefined;
  const states = nodes.slice(0, 5).map((node) => `${node.metadata.name} is ${stateOf(node)}`);
  return `no node is Ready (${states.join(", ")}${nodes.length > 5 ? ", …" : ""})`;
}

const whereToLook = (node: string): string =>
  node === ""
    ? "to list the nodes:  noderax-agent sandbox get nodes"
    : `what ${node} waits for is in its log, and on that machine in:  noderax-agent status`;

const PATH = ["sandbox", "apply"];
const usage = (message: string): AgentError => usageError(message, PATH);
