// `sandbox get`: lists nodes or projects of the Caravanserai side, or shows one in detail.
import * as v from "valibot";
import { command } from "../../command.ts";
import { age, note, print, printJson, table } from "../../ui/output.ts";
import { asCalled } from "../../program.ts";
import { type Operator, operator, operatorArgs } from "./client.ts";
import { flat, printFields } from "./fields.ts";
import {
  NodeAnswer,
  ProjectAnswer,
  getProject,
  oneLine,
  pathOf,
  reasonLine,
  reasonOf,
  resourceKind,
  timeOf,
} from "./resources.ts";

const Report = v.object({
  phase: v.string(),
  reason: v.string(),
  message: v.string(),
  at: v.string(),
});

export default command({
  name: "get",
  description: "list nodes or projects of the Caravanserai side, or show one",
  examples: ["sandbox get nodes", "sandbox get projects --json", "sandbox get project shop"],
  args: {
    kind: {
      type: "positional",
      required: true,
      description: "nodes or projects",
      valueHint: "nodes|projects",
    },
    name: { type: "positional", required: false, description: "only this one, in detail" },
    ...operatorArgs,
  },
  async run({ args }) {
    const kind = resourceKind(args.kind, "get");
    const sandbox = operator(args);
    const json = args.json === true;
    if (kind === "nodes") return args.name ? showNode(sandbox, args.name, json) : listNodes(sandbox, json);
    return args.name ? showProject(sandbox, args.name, json) : listProjects(sandbox, json);
  },
});

async function listNodes(sandbox: Operator, json: boolean): Promise<void> {
  const nodes = await sandbox.call("GET", "/cara/nodes", v.array(NodeAnswer));
  if (json) return printJson(nodes);
  if (nodes.length === 0) return note(`no nodes yet; start an agent with  --server-url ${sandbox.url}`);
  const rows = nodes.map((node) => {
    const { capacity, network } = node.status;
    return [
      node.metadata.name,
      stateOf(node),
      ago(node.status.lastHeartbeat),
      capacity["cpu"] ?? "-",
      capacity["memory"] ?? "-",
      capacity["disk"] ?? "-",
      network.ip === undefined ? "-" : `${network.ip}:${network.agentPort ?? 9090}`,
    ];
  });
  for (const line of table(rows, ["name", "state", "heartbeat", "cpu", "memory", "disk", "address"]))
    print(line);
}

async function listProjects(sandbox: Operator, json: boolean): Promise<void> {
  const projects = await sandbox.call("GET", "/cara/projects", v.array(ProjectAnswer));
  if (json) return printJson(projects);
  if (projects.length === 0)
    return note(asCalled("no projects yet; make one:  noderax-agent sandbox apply --example web"));
  const rows = projects.map((project) => [
    project.metadata.name,
    project.status.phase,
    project.status.nodeRef || "-",
    project.spec.services.map(({ name }) => name).join(","),
    age(timeOf(project.metadata.createdAt)),
    reasonOf(project),
  ]);
  for (const line of table(rows, ["name", "phase", "node", "services", "age", "reason"])) print(line);
}

async function showNode(sandbox: Operator, name: string, json: boolean): Promise<void> {
  const node = await sandbox.call("GET", pathOf("nodes", name), NodeAnswer);
  if (json) return printJson(node);
  const { metadata, spec, status } = node;
  const { state: _, conditions, lastHeartbeat, ...reported } = status;
  printFields([
    ["name", metadata.name],
    ["state", stateOf(node)],
    ["hostname", spec.hostname],
    ["heartbeat", ago(lastHeartbeat)],
    ...flat(reported),
    ...conditions.map(({ type, status, message }) => [type, `${status}  ${message}`]),
  ]);
}

async function showProject(sandbox: Operator, name: string, json: boolean): Promise<void> {
  const project = await getProject(sandbox, name);
  if (json) return printJson(project);
  const reports = await sandbox.call("GET", `${pathOf("projects", name)}/reports`, v.array(Report));
  const { metadata, spec, status } = project;
  printFields([
    ["name", metadata.name],
    ["phase", status.phase],
    ["node", status.nodeRef || "-"],
    ["created", ago(metadata.createdAt)],
    ...status.conditions.map((condition) => [
      condition.type,
      `${condition.status}  ${reasonLine(condition)}`,
    ]),
  ]);
  print();
  const services = spec.services.map((service) => [service.name, service.image]);
  for (const line of table(services, ["service", "image"])) print(line);
  if (reports.length === 0) return;
  print();
  const rows = reports
    .slice(-REPORTS_SHOWN)
    .map(({ at, phase, reason, message }) => [ago(at), phase, reason, oneLine(message)]);
  for (const line of table(rows, ["reported", "phase", "reason", "message"])) print(line);
}

const REPORTS_SHOWN = 20;

function stateOf({ spec, status }: NodeAnswer): string {
  const pressed = status.conditions.filter(({ status }) => status === "True").map(({ type }) => type);
  return [status.state, ...(spec.unschedulable ? ["unschedulable"] : []), ...pressed].join(", ");
}

function ago(time: string): string {
  const then = timeOf(time);
  return then === undefined ? "never" : `${age(then)} ago`;
}
