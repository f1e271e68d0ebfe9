// How things of a project are called on Docker: fixed, so that either agent can take over what the other made.
import { shortContainerId } from "../../lib/text.ts";
export const PROJECT_LABEL = "cara.project";
export const SERVICE_LABEL = "cara.service";
/** Ours alone: the node whose agent made it. Where it is missing, another agent did, or an earlier version. */
export const NODE_LABEL = "cara.node";
/** Ours alone: what the container was made from. A container without it was made by another agent. */
export const FINGERPRINT_LABEL = "cara.fingerprint";

/** For a message: "container 0123456789ab (nginx:1)". */
export const describeContainer = (id: string, image: string): string =>
  `container ${shortContainerId(id)} (${image})`;

export const networkName = (project: string): string => `cara-${project}`;
export const containerName = (project: string, service: string): string => `${project}-${service}`;
export const volumeName = (project: string, volume: string): string => `cara-${project}-${volume}`;

/** What a container is to its service while one takes the place of another. */
export type Role = "current" | "next" | "previous";

/** An underscore is in no name of a project, so no other container can be meant. */
const SUFFIXES: Record<Role, string> = { current: "", next: "_next", previous: "_previous" };

export const nameInRole = (project: string, service: string, role: Role): string =>
  containerName(project, service) + SUFFIXES[role];

/** The role that a container of this service has by its name; undefined for a name that we did not give. */
export const roleOf = (project: string, service: string, name: string): Role | undefined =>
  (["current", "next", "previous"] as const).find((role) => nameInRole(project, service, role) === name);
