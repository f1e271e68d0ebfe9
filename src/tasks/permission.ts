// Decides whether this node allows what a task asks for: the owner's settings first, then the root-access profile. Pure.
import { type RootProfile, type RootSurface, allows } from "../protocol/noderax/root-access.ts";
import {
  type KindContext,
  type OwnerSetting,
  type Prepared,
  type TaskKind,
  taskKindOf,
} from "./kinds/kind.ts";

export interface Permissions extends KindContext {
  readonly kinds: readonly TaskKind[];
  readonly owner: Readonly<Record<OwnerSetting, boolean>>;
  /** The root-access profile in force here, after the owner's veto. */
  readonly rootProfile: RootProfile;
  /** Why this machine gives no root for a surface; undefined when it does. */
  readonly rootRefusal: (surface: RootSurface) => string | undefined;
}

/** Returns what the task does on this node at this moment, or why it is refused. */
export function prepareTask(type: string, payload: unknown, permissions: Permissions): Prepared {
  const { kinds } = permissions;
  const kind = taskKindOf(kinds, type);
  if (kind === undefined) {
    const known = kinds.map((one) => one.type).join(", ");
    return refuse(`unsupported task type "${type}": this agent runs ${known}`);
  }
  if (kind.allowedBy !== undefined && !permissions.owner[kind.allowedBy])
    return refuse(`the owner of this machine forbids ${type} (${kind.allowedBy})`);
  const prepared = kind.prepare(payload, permissions);
  const refusal = prepared.do === "refuse" ? undefined : refusalOfRoot(prepared.root, permissions);
  return refusal === undefined ? prepared : refuse(refusal);
}

const refuse = (text: string): Prepared => ({ do: "refuse", text });

/** Returns why root is refused for a surface; undefined when it is allowed, or not asked for. */
function refusalOfRoot(
  surface: RootSurface | undefined,
  { rootProfile, rootRefusal }: Permissions,
): string | undefined {
  if (surface === undefined || allows(rootProfile, surface)) return undefined;
  const why = rootRefusal(surface) ?? `the root access profile applied on this node is "${rootProfile}"`;
  return `root access refused (${surface}): ${why}`;
}
