// `sandbox apply`: makes or changes projects and nodes from a file, and waits for projects when told to.
import * as v from "valibot";
import { AgentError, type ExitCode, exit } from "../../../lib/agent-error.ts";
import { type Duration, humanDuration, milliseconds, parseDuration, seconds } from "../../../lib/duration.ts";
import { sleep } from "../../../lib/loop.ts";
import { command } from "../../command.ts";
import { note, print, printJson, warn } from "../../ui/output.ts";
import { asCalled } from "../../program.ts";
import { type Operator, operator, operatorArgs } from "./client.ts";
import { EXAMPLES, exampleProject } from "./examples.ts";
import { type ReadManifest, readManifests } from "./manifests.ts";
import { NodeAnswer, ProjectAnswer, getProject, reasonOf } from "./resources.ts";

/** How often a project that is waited for is looked at. */
const LOOK = milliseconds(150);
/** Nothing new for so long: somebody may want to look on the node. An agent reports what ended, not what it waits for. */
const QUIET = seconds(5);

/** An agent that has just been started is Ready within a second or two; one that is restarted, soon after. */
const BLOCKED_LIMIT = seconds(5);

const Applied = v.object({
  result: v.picklist(["created", "changed", "unchanged"]),
  resource: v.variant("kind", [ProjectAnswer, NodeAnswer]),
});
type Applied = v.InferOutput<typeof Applied>;

export default command({
  name: "apply",
  description: "make or change projects and nodes from a file",
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
        "a ready project instead: one web server, nginx:alpine from Docker Hub unless --image says else",
      valueHint: EXAMPLES.join("|"),
    },
    image: {
      type: "string",
      description: "the example's image, one that runs by itself",
      valueHint: "image",
    },
    force: { type: "boolean", description: "change a spec also while the project is Scheduled or Running" },
    wait: {
      type: "boolean",
      description: "wait until every project is Running or has Failed, or none can get on",
    },
    timeout: { type: "string", description: "stop waiting after this long", valueHint: "1m" },
    ...operatorArgs,
  },
  async run({ args }): Promise<ExitCode> {
    const patience = patienceOf(args.timeout);
    const manifests = await manifestsOf(args);
    for (const warning of manifests.flatMap(({ warnings }) => warnings)) warn(`${warning}; it has no effect`);
    const sandbox = operator(args);
    const applied: Applied[] = [];
    for (const manifest of manifests) {
      const one = await apply(sandbox, manifest, args.force === true);
      applied.push(one);
      if (!args.json) print(`${manifest.kind.toLowerCase()} ${manifest.name} ${one.result}`);
    }
    const ended = args.wait ? await settled(sandbox, applied, patience) : applied;
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
  if (image !== undefined && example === undefined) throw usage("--image belongs to --example");
  if (file !== undefined) return readManifests(file);
  const document = exampleProject(example ?? "web", image);
  return [{ kind: "Project", name: `example-${example ?? "web"}`, document, warnings: [] }];
}

function apply(sandbox: Operator, { kind, document }: ReadManifest, force: boolean): Promise<Applied> {
  const path = kind === "Project" ? `/cara/projects${force ? "?force=true" : ""}` : "/cara/nodes";
  return sandbox.call("PUT", path, Applied, document).catch((error: unknown) => {
    if (!(error instanceof AgentError) || error.status !== 409 || force || kind === "Node") throw error;
    // A Terminating one cannot be forced; it is over soon.
    const hint = error.message.includes("Terminating") ? undefined : "change it all the same:  add --force";
    throw new AgentError(error.code, error.message, { status: 409, exit: error.exit, hint, cause: error });
  });
}

/** Looks until every project is Running or Failed, and says what happens on the way. */
async function settled(
  sandbox: Operator,
  applied: readonly Applied[],
  patience: Duration,
): Promise<Applied[]> {
  const deadline = performance.now() + patience;
  return Promise.all(
    applied.map(async ({ result, resource }): Promise<Applied> => {
      if (resource.kind === "Node") return { result, resource };
      // A Failed one keeps its phase when its spec changes, until its node says something new.
      const isStale = result === "changed" && resource.status.phase === "Failed";
      const since = isStale ? resource.metadata.updatedAt : undefined;
      const { name } = resource.metadata;
      return { result, resource: await settledProject(sandbox, name, deadline, since) };
    }),
  );
}

/** `since`: when its last failure counts for nothing any more. */
async function settledProject(
  sandbox: Operator,
  name: string,
  deadline: number,
  since?: string,
): Promise<ProjectAnswer> {
  let said = "";
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
    if (line !== said) {
      note(line);
      hintAt = performance.now() + QUIET;
    }
    said = line;
    if (performance.now() > hintAt) {
      note(`  nothing new for ${humanDuration(QUIET)}; ${asCalled(whereToLook(nodeRef))}`);
      hintAt = Infinity;
    }
    if (phase === "Running" || (phase === "Failed" && !isStale)) return project;
    const blocked = blockedBy(project, await sandbox.call("GET", "/cara/nodes", v.array(NodeAnswer)));
    blockedSince = blocked === undefined ? undefined : (blockedSince ?? performance.now());
    if (blocked !== undefined && performance.now() - (blockedSince ?? 0) > BLOCKED_LIMIT) {
      throw new AgentError("sandbox.blocked", `project ${name} is ${phase}: ${blocked}`, {
        hint: [
          "It goes on by itself once a node is Ready. Which nodes there are:  noderax-agent sandbox get nodes",
          "A node of this machine:  noderax-agent dev, or an agent with --server-url",
        ],
      });
    }
    if (performance.now() > deadline) {
      throw new AgentError("sandbox.patience", `project ${name} is still ${phase}`, {
        hint: `look at it later:  noderax-agent sandbox get project ${name}`,
      });
    }
    await sleep(LOOK);
  }
}

/** Why a project cannot get on without somebody's help; undefined while it can. */
export function blockedBy(
  { status: { nodeRef } }: Pick<ProjectAnswer, "status">,
  nodes: readonly Pick<NodeAnswer, "metadata" | "spec" | "status">[],
): string | undefined {
  const stateOf = ({ spec, status }: (typeof nodes)[number]): string =>
    spec.unschedulable && status.state === "Ready" ? "unschedulable" : status.state;
  const own = nodes.find(({ metadata }) => metadata.name === nodeRef);
  if (nodeRef !== "") {
    const state = own?.status.state ?? "gone";
    return state === "Ready" || state === "Draining" ? undefined : `its node ${nodeRef} is ${state}`;
  }
  if (nodes.length === 0) return "there is no node";
  if (nodes.some((node) => stateOf(node) === "Ready")) return undefined;
  const states = nodes.slice(0, 5).map((node) => `${node.metadata.name} is ${stateOf(node)}`);
  return `no node is Ready (${states.join(", ")}${nodes.length > 5 ? ", …" : ""})`;
}

const whereToLook = (node: string): string =>
  node === ""
    ? "which nodes there are:  noderax-agent sandbox get nodes"
    : `what ${node} waits for is in its log, and on that machine in:  noderax-agent status`;

function patienceOf(text: string | undefined): Duration {
  if (text === undefined) return Infinity;
  const patience = parseDuration(text);
  if (patience !== undefined) return patience;
  throw usage(`--timeout: "${text}" is not a duration (give a unit: 30s, 1m)`);
}

const usage = (message: string): AgentError =>
  new AgentError("cli.usage", message, { exit: exit.usage, hint: "see: noderax-agent help sandbox apply" });
