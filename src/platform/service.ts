// Tells whether the service manager can restart this agent, and whether this machine can be rebooted.
import { existsSync, readFileSync } from "node:fs";
import { SYSTEM_PATH } from "./account.ts";

/**
 * Returns the systemd service of this process ("noderax-agent.service"), or undefined when nothing would
 * start it again. Reads the control group, which works for units of any name.
 */
export function ownService(): string | undefined {
  if (!existsSync("/run/systemd/system")) return undefined;
  try {
    return serviceOf(readFileSync("/proc/self/cgroup", "utf8"));
  } catch {
    return undefined;
  }
}

/**
 * Finds the service in /proc/<pid>/cgroup, in the unified hierarchy or in the one systemd uses beside version
 * 1.
 */
export function serviceOf(cgroup: string): string | undefined {
  for (const line of cgroup.split("\n")) {
    const [, path = ""] = /^(?:0:|\d+:name=systemd):(.*)$/.exec(line) ?? [];
    // Services of a user's own systemd lie below user@1000.service.
    const [, unit] = /^(?:.*\/)?system\.slice\/(?:[^/]+\.slice\/)*([^/]+\.service)$/.exec(path) ?? [];
    if (unit !== undefined) return unit;
  }
  return undefined;
}

/** One start of a service: systemd gives each an identifier. */
export interface ServiceRun {
  readonly name: string;
  readonly invocation: string;
}

/**
 * Returns our service if its stop also ends what we started (KillMode of the control group), else undefined.
 */
export function endingService(): ServiceRun | undefined {
  const name = ownService();
  if (name === undefined) return undefined;
  const command = ["systemctl", "show", "--property=KillMode", "--value", name];
  const asked = Bun.spawnSync(command, { env: { PATH: SYSTEM_PATH }, stdin: "ignore", stderr: "ignore" });
  const mode = asked.stdout.toString().trim();
  // If systemctl fails, assume the default, control-group.
  if (mode === "process" || mode === "none") return undefined;
  return { name, invocation: process.env["INVOCATION_ID"] ?? "" };
}

/** What decides whether `reboot` works. */
export interface RebootFacts {
  readonly hasSystemd: boolean;
  readonly hasProgram: boolean;
  readonly isContainer: boolean;
  /** The name of the first process. */
  readonly init: string;
}

/** First processes that obey `reboot`. */
const INITS = new Set(["init", "systemd", "openrc-init", "runit", "busybox", "s6-svscan", "dinit", "finit"]);

/** Returns why `reboot` would do nothing here; undefined when it works. */
export function rebootRefusal(facts = rebootFacts()): string | undefined {
  if (!facts.hasProgram) return "this machine has no reboot program";
  if (facts.hasSystemd) return undefined;
  if (facts.isContainer) return "the agent runs in a container, which cannot reboot its machine";
  if (INITS.has(facts.init)) return undefined;
  return `the first process of this machine is "${facts.init}", which does not reboot it`;
}

function rebootFacts(): RebootFacts {
  return {
    hasSystemd: existsSync("/run/systemd/system"),
    hasProgram: Bun.which("reboot", { PATH: SYSTEM_PATH }) !== null,
    isContainer: ["/.dockerenv", "/run/.containerenv"].some((path) => existsSync(path)),
    init: readFileSync("/proc/1/comm", "utf8").trim(),
  };
}
