// Makes the ingress routes: which host name leads to which container, from the rules of the projects and a snapshot. Pure.
//
// When two rules claim one host, the first in this order gets it: a rule whose host is made from its project's own name, so
// that no other project can take it by writing it out; then the project whose name sorts first; then the rule that is
// listed first. The order of lists and the state of containers do not matter, so a restart moves no host.
import type { IngressSpec } from "../../protocol/caravanserai/resources.ts";
import type { DesiredProject } from "./desired.ts";
import type { Snapshot } from "./engine.ts";
import type { Role } from "./names.ts";

/** Has the fields of the listener's `IngressRoute`. */
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

/** As for forward and logs: the next container of a replacement is not served, the previous one is if there is no current. */
const SERVING: readonly Role[] = ["current", "previous"];

/** A label of a DNS name, with underscores, which browsers accept. */
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const HOST_MAX = 253;

/** One route for each valid host name that a rule claims. Without a snapshot the routes have no address. */
export function ingressRoutesOf(
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

/** For people: the rules that are not effective, and why. */
export function ingressWarnings(projects: readonly DesiredProject[]): readonly string[] {
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
          ? `the host ${host} is listed twice, the first one counts`
          : `the host ${host} belongs to project ${holder.project.name} already`,
      );
    else {
      winners.set(host, claim);
      if (!project.services.some(({ name }) => name === rule.target.service))
        warn(`there is no service ${rule.target.service}`);
    }
  }
  return { winners, warnings };
}

/** A host with a dot is used as it is. Without a dot, "app" of project "shop" is "app.shop.local", and "" is "shop.local". */
function claimOf(project: DesiredProject, rule: IngressSpec): Claim {
  const host = rule.host.toLowerCase();
  const isOwn = !host.includes(".");
  const own = host === "" ? `${project.name}.local` : `${host}.${project.name}.local`;
  return { host: isOwn ? own : host.replace(/\.$/, ""), project, rule, isOwn };
}

function faultOf(host: string): string | undefined {
  if (host.length > HOST_MAX) return "the host is longer than 253 characters, the rule is ignored";
  return host.split(".").every((label) => LABEL.test(label))
    ? undefined
    : `"${host}" is not a host name, the rule is ignored`;
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
