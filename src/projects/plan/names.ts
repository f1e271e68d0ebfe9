// The labels and names of a project's objects on Docker. Fixed: the Go agent uses the same, and each can take over from the other.
import { shortContainerId } from "../../lib/text.ts";

export const PROJECT_LABEL = "cara.project";
export const SERVICE_LABEL = "cara.service";
/** The node whose agent created it. Missing when the Go agent or an earlier version did. */
export const NODE_LABEL = "cara.node";
/** The hash of what the container was made from. Missing when the Go agent created it. */
export const FINGERPRINT_LABEL = "cara.fingerprint";

/** For a message: "container 0123456789ab (nginx:1)". */
export const describeContainer = (id: string, image: string): string =>
  `container ${shortContainerId(id)} (${image})`;

export const networkName = (project: string): string => `cara-${project}`;
export const containerName = (project: string, service: string): string => `${project}-${service}`;
export const volumeName = (project: string, volume: string): string => `cara-${project}-${volume}`;

/** The part of a container in a replacement. */
export type Role = "current" | "next" | "previous";

/** Names of projects have no underscore, so no container of another project can have such a name. */
const SUFFIXES: Record<Role, string> = { current: "", next: "_next", previous: "_previous" };

export const nameInRole = (project: string, service: string, role: Role): string =>
  containerName(project, service) + SUFFIXES[role];

/** The role of a container of this service by its name; undefined for any other name. */
export const roleOf = (project: string, service: string, name: string): Role | undefined =>
  (["current", "next", "previous"] as const).find((role) => nameInRole(project, service, role) === name);
