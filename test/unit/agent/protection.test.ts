// What status says of the protection of tasks: what is in force, and what is missing although nobody switched it off.
import { expect, test } from "bun:test";
import { type ProtectionFacts, protectionStatus } from "../../../src/agent/protection.ts";

const complete: ProtectionFacts = {
  wanted: "auto",
  unavailable: undefined,
  isTaskRoot: false,
  allowSetuid: false,
  mayGain: false,
  hasUnits: true,
  processes: 2_048,
  kernelBounds: false,
};

test("where everything is in force, nothing is missing", () => {
  expect(protectionStatus(complete)).toEqual({
    isolation: "auto",
    in_force: [
      "tasks and terminals without root see only their own processes",
      "no set-uid programs in tasks",
      "2048 processes each (task_pids_max)",
    ],
    missing: [],
  });
  expect(protectionStatus({ ...complete, wanted: "all" }).in_force[0]).toBe(
    "tasks and terminals see only their own processes",
  );
});

test.each<[Partial<ProtectionFacts>, RegExp]>([
  [{ unavailable: "the agent does not run as root" }, /read, signal .*: the agent does not run as root$/],
  [{ mayGain: true }, /set-uid programs work in tasks: there is no setpriv/],
  [{ hasUnits: false }, /nothing bounds how many processes/],
  [{ hasUnits: false, kernelBounds: true, unavailable: "no unshare" }, /no unshare|nothing bounds/],
  [{ isTaskRoot: true }, /the task user is root/],
])("with %j something is missing, with the reason", (facts, text) => {
  const { missing } = protectionStatus({ ...complete, ...facts });
  expect(missing.length).toBeGreaterThan(0);
  for (const one of missing) expect(one).toMatch(text);
});

test("without units, a kernel that can bounds the processes of a private view", () => {
  const { in_force: inForce, missing } = protectionStatus({
    ...complete,
    hasUnits: false,
    kernelBounds: true,
  });
  expect(inForce).toContain("2048 processes in each private view (task_pids_max)");
  expect(missing).toEqual([]);
});

test("what the owner switched off is in force as it is, and not missing", () => {
  const { in_force: inForce, missing } = protectionStatus({
    ...complete,
    wanted: "off",
    allowSetuid: true,
    mayGain: true,
  });
  expect(missing).toEqual([]);
  expect(inForce.join("; ")).toMatch(/task_isolation is off.*task_allow_setuid/);
});
