// The kinds packageInstall, packageRemove and packagePurge: {names?, packages?, package?, purge?}, which repeat the same names.
//
// A process of our own carries the operation out (`packages apply`), so that it outlives the agent, and writes its report to
// descriptor 4. A stop reaches that process alone: dpkg is never interrupted (packages/apply.ts).
import * as v from "valibot";
import { messageOf } from "../../lib/agent-error.ts";
import { minutes } from "../../lib/duration.ts";
import { PackageReport } from "../../packages/report.ts";
import { requireMutable } from "../../packages/inquire.ts";
import type { PackageAction } from "../../packages/adapter.ts";
import { NAMES_MAX, problemOfName } from "../../packages/names.ts";
import { changeLines } from "../../packages/changes.ts";
import { ownCommand } from "../../platform/build.ts";
import { RUNNING_LIMIT } from "../../protocol/noderax/limits.ts";
import { type Finished, type Prepared, type RunEnd, type TaskKind, defineKind } from "./kind.ts";

/** Between the request to stop and giving up on it: a large dpkg run on a slow disk. What runs is left alone then. */
const STOP_GRACE = minutes(10);

/** The control plane ends every task after 30 minutes; the end has to be reported before. */
const LIMIT = RUNNING_LIMIT - STOP_GRACE - minutes(1);

const names = v.nullish(v.array(v.string("must be a string"), "must be a list of names"));
const Payload = v.object({
  names,
  packages: names,
  package: v.nullish(v.string("must be a string")),
  purge: v.nullish(v.boolean("must be true or false")),
});
type Payload = v.InferOutput<typeof Payload>;

export const packageInstall = change("packageInstall", "install");
export const packageRemove = change("packageRemove", "remove");
export const packagePurge = change("packagePurge", "purge");

function change(type: string, action: PackageAction): TaskKind {
  const actionOf = ({ purge }: Payload): PackageAction =>
    action === "remove" && purge === true ? "purge" : action;
  return defineKind({
    type,
    allowedBy: "allow_packages",
    payload: Payload,
    prepare: (payload) => prepare(type, actionOf(payload), namesOf(payload)),
    finish: (end, payload) => finish(end, actionOf(payload), namesOf(payload)),
  });
}

const namesOf = ({ names, packages, package: one }: Payload): string[] => [
  ...new Set(
    [...(names ?? []), ...(packages ?? []), ...(one == null ? [] : [one])].map((name) => name.trim()),
  ),
];

function prepare(type: string, action: PackageAction, names: readonly string[]): Prepared {
  const refuse = (text: string): Prepared => ({ do: "refuse", text: `invalid payload of ${type}: ${text}` });
  if (names.length === 0) return refuse("no package is named");
  if (names.length > NAMES_MAX) return refuse(`more than ${NAMES_MAX} packages are named`);
  for (const name of names) {
    const problem = problemOfName(name, action === "install");
    if (problem !== undefined) return refuse(`the name ${JSON.stringify(name.slice(0, 100))} ${problem}`);
  }
  const refusal = refusalHere();
  if (refusal !== undefined) return { do: "refuse", text: refusal };
  return {
    do: "run",
    argv: [...ownCommand(), "packages", "apply", action, ...names],
    workingDirectory: "/",
    environment: {},
    timeout: LIMIT,
    killGrace: STOP_GRACE,
    stopsItself: true,
    root: "operational",
    exclusive: "packages",
    report: true,
  };
}

function refusalHere(): string | undefined {
  try {
    requireMutable();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function finish(end: RunEnd, action: PackageAction, names: readonly string[]): Finished {
  const report = parseReport(end.report);
  if (report === undefined) {
    // It ended before it knew what to report: its last words say why.
    const last =
      end.stderr
        .trimEnd()
        .split("\n")
        .at(-1)
        ?.replace(/^error: /, "") ?? "";
    const isTold = end.status === "failed" && last !== "";
    return { result: { names, purge: action === "purge" }, ...(isTold ? { error: last } : {}) };
  }
  const { error, rebootReasons, ...rest } = report;
  const result = {
    names,
    purge: action === "purge",
    ...rest,
    rebootRequired: rebootReasons.length > 0,
    rebootReasons,
    output: changeLines(report).join("\n"),
  };
  const why = [end.status === "failed" ? undefined : end.text, error]
    .filter((text) => text != null)
    .join(": ");
  return end.status === "success" || why === "" ? { result } : { result, error: why };
}

function parseReport(text: string | undefined): PackageReport | undefined {
  try {
    return v.parse(PackageReport, JSON.parse(text ?? ""));
  } catch {
    return undefined;
  }
}
