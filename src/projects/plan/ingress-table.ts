// Which host names lead to which container: from the ingress rules of the projects and one look at Docker. Pure.
//
// Of two rules for one host the first in this order has it: one whose host is made of its project's own name, so that no
// other project can take it away by writing it out; then the project whose name comes first; then the rule that stands
// first. Nothing of it depends on the order of lists, or on what runs, so that a restart moves no host.
import type { IngressSpec } from "../../protocol/caravanserai/resources.ts";
import type { DesiredProject } from "./desired.ts";
import type { Snapshot } from "./engine.ts";
import type { Role } from "./names.ts";

/** What the listener knows as its `Route`. */
export interface ProjectRoute {
  /** In lower case, without a port. */
  readonly host: string;
  readonly project: string;
  readonly service: string;
  /** Undefined while no container of the service runs. */
  readonly address: string | undefined;
  readonly port: number;
}

interface Claim {
  readonly host: string;
  readonly project: DesiredProject;
  readonly rule: IngressSpec;
  readonly isOwn: boolean;
}

/** As with forward and logs: a replacement in preparation is not served, the one before is while there is no other. */
const SERVING: readonly Role[] = ["current", "previous"];

/** A label of a DNS name; with underscores, which browsers take. */
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const HOST_MAX = 253;

/** One for each host name that is claimed and can be one. */
export function routesOf(
  projects: readonly DesiredProject[],
  snapshot: Snapshot | undefined,
): readonly ProjectRoute[] {
  return [...decide(projects).winners.values()].map(({ host, project, rule }) => ({
    host,
    project: project.name,
    service: rule.target.service,
    address: addressOf(project.name, rule.target.service, snapshot),
    port: rule.target.port,
  }));
}

/** For people: which rules lead nowhere, and why. */
export function routeWarnings(projects: readonly DesiredProject[]): readonly string[] {
  return decide(projects).warnings;
}

function decide(projects: readonly DesiredProject[]): { winners: Map<string, Claim>; warnings: string[] } {
  const winners = new Map<string, Claim>();
  const warnings: string[] = [];
  const byName = projects.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const claims = byName.flatMap((project) => project.ingress.map((rule) => claimOf(project, rule)));
  for (const claim of claims.toSorted((a, b) => Number(b.isOwn) - Number(a.isOwn))) {
    const { host, project, rule } = claim;
    const warn = (what: string): number => warnings.push(`project ${project.name}, ${nameOf(rule)}: ${what}`);
    const fault = faultOf(host);
    const holder = winners.get(host);
    if (fault !== undefined) warn(fault);
    else if (holder !== undefined)
      warn(
        holder.project === project
          ? `the host ${host} stands twice, the first one counts`
          : `the host ${host} is project ${holder.project.name}'s already`,
      );
    else {
      winners.set(host, claim);
      if (!project.services.some(({ name }) => name === rule.target.service))
        warn(`there is no service ${rule.target.service}`);
    }
  }
  return { winners, warnings };
}

/** A host with a dot stands as it is; one without is a part of the project's own name, and so is none at all. */
function claimOf(project: DesiredProject, rule: IngressSpec): Claim {
  const wanted = rule.host.toLowerCase();
  const isOwn = !wanted.includes(".");
  const own = wanted === "" ? `${project.name}.local` : `${wanted}.${project.name}.local`;
  return { host: isOwn ? own : wanted.replace(/\.$/, ""), project, rule, isOwn };
}

function faultOf(host: string): string | undefined {
  if (host.length > HOST_MAX) return "the host is longer than 253 characters, it is left out";
  return host.split(".").every((label) => LABEL.test(label))
    ? undefined
    : `"${host}" is not a host name, it is left out`;
}

const nameOf = ({ name, host }: IngressSpec): string => `ingress ${name || host || "without a name"}`;

function addressOf(project: string, service: string, snapshot: Snapshot | undefined): string | undefined {
  const observed = snapshot?.projects.get(project);
  if (observed?.network === undefined) return undefined;
  const own = observed.containers.filter((one) => one.service === service);
  const serving = SERVING.map((role) => own.find((one) => one.role === role)).find(
    (one) => one !== undefined,
  );
  if (serving?.state !== "running") return undefined;
  return serving.networks.get(observed.network) || undefined;
}
