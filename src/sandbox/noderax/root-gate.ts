// The API's own refusal of tasks that need root, by the profile that the agent reports as applied.
import { conflict } from "../http/api-error.ts";
import { type RootSurface, allows } from "../../protocol/noderax/root-access.ts";
import type { NodeRow } from "../entities.ts";
import { rootAccessStatus } from "./nodes.ts";

const OPERATIONAL_COMMANDS = ["reboot", "systemctl restart noderax-agent", "apt-get update"];
const PACKAGE_CHANGES = ["packageInstall", "packageRemove", "packagePurge"];

interface Wanted {
  readonly node: NodeRow;
  readonly type: string;
  readonly payload?: Record<string, unknown> | undefined;
}

/** Throws 409 when the task wants a surface that the node has not applied. */
export function checkRootGate({ node, type, payload = {} }: Wanted): void {
  const surface = wantedSurface(type, payload);
  if (surface === undefined) return;
  if (type === "shell.exec" && surface === "operational") checkOperationalCommand(payload["command"]);
  if (allows(node.appliedProfile, surface)) return;
  const refusal = refusalOf(node, surface);
  throw conflict(
    surface === "operational"
      ? `${refusal} Desired profile is ${node.rootProfile} (${rootAccessStatus(node)}).`
      : refusal,
  );
}

/** Throws 409 when a root shell is wanted on a node that has not applied a profile with terminals. */
export function checkTerminalGate(node: NodeRow): void {
  if (!allows(node.appliedProfile, "terminal")) throw conflict(refusalOf(node, "terminal"));
}

const refusalOf = (node: NodeRow, surface: RootSurface): string =>
  `Node ${node.hostname} does not currently allow ${surface} root access. Applied profile is ${node.appliedProfile}.`;

function wantedSurface(type: string, payload: Record<string, unknown>): RootSurface | undefined {
  if (PACKAGE_CHANGES.includes(type)) return "operational";
  if (payload["runAsRoot"] !== true) return undefined;
  if (type === "log.scan") return "operational";
  if (type !== "shell.exec") return undefined;
  return payload["rootScope"] === "operational" ? "operational" : "task";
}

function checkOperationalCommand(command: unknown): void {
  const normalised = typeof command === "string" ? command.trim().replace(/\s+/g, " ") : "";
  if (!OPERATIONAL_COMMANDS.includes(normalised)) {
    throw conflict(
      "Operational root access is limited to reboot, restarting noderax-agent, and apt-get update.",
    );
  }
}
