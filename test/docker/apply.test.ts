// A whole project by the planner's steps on a real engine: up, changed, and away again.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { openDatabase } from "../../src/platform/database.ts";
import { silent } from "../../src/platform/log.ts";
import { type StepPorts, applyStep } from "../../src/projects/reconcile/apply.ts";
import type { DesiredProject } from "../../src/projects/plan/desired.ts";
import { NO_HISTORY } from "../../src/projects/plan/history.ts";
import type { ObservedProject } from "../../src/projects/plan/observed.ts";
import { type Plan, type Situation, planProject, planTeardown } from "../../src/projects/plan/project.ts";
import { createRecords, recordsMigration } from "../../src/projects/reconcile/records.ts";
import { observedIn } from "../../src/projects/plan/observed.ts";
import { createPulls } from "../../src/projects/reconcile/pulls.ts";
import { createPlayground, docker, engine, missing, until } from "../support/docker.ts";

setDefaultTimeout(150_000);

const signal = new AbortController().signal;
const own = engine();
const records = createRecords(openDatabase(":memory:", [recordsMigration]));
const pulls = createPulls({ engine: own, parallel: 1, idle: seconds(10), log: silent });

async function situation(desired: DesiredProject): Promise<Situation> {
  const snapshot = await own.snapshot(signal);
  return {
    observed: observedIn(snapshot, desired.name, desired),
    history: NO_HISTORY,
    images: { present: snapshot.images, pulls: pulls.states() },
    policy: {
      pull: "if-not-present",
      restart: { limit: 5, window: minutes(10) },
    },
    now: Date.now(),
  };
}

/** Rounds until the plan reports this phase and has nothing left to do; resolves with all that was done. */
async function converge(
  phase: string,
  plan: (situation: Situation) => Plan,
  desired: DesiredProject,
): Promise<string[]> {
  const hands: StepPorts = {
    engine: own,
    records,
    pulls,
    log: silent,
    project: desired.name,
    grace: seconds(2),
  };
  const done: string[] = [];
  await until(
    `${desired.name} is ${phase}`,
    async () => {
      const { steps, report } = plan(await situation(desired));
      for (const step of steps) {
        await applyStep(step, hands, signal);
        done.push(step.do);
      }
      return steps.length === 0 && report?.phase === phase;
    },
    seconds(40),
  );
  return done;
}

describe.skipIf(missing !== undefined)("a project (needs Docker)", () => {
  test("comes up, follows a change without losing its volume, and goes without a trace", async () => {
    await using place = await createPlayground();
    const spec = { name: "web", mounts: { data: "/data" } };
    const before = place.wants([spec, { name: "db" }], ["data"]);
    const up = (desired: DesiredProject) => converge("Running", (one) => planProject(desired, one), desired);
    await up(before);
    const first = (await situation(before)).observed;
    expect(first.containers.map(({ state, role }) => `${state} ${role}`)).toEqual([
      "running current",
      "running current",
    ]);
    expect(await up(before)).toEqual([]);

    const after = place.wants([{ ...spec, env: { VERSION: "2" } }, { name: "db" }], ["data"]);
    const done = await up(after);
    expect(done).toEqual(
      "createContainer stopContainer renameContainer renameContainer startContainer removeContainer".split(
        " ",
      ),
    );
    const second = (await situation(after)).observed;
    const idOf = (observed: ObservedProject, name: string): string | undefined =>
      observed.containers.find(({ service }) => service === name)?.id;
    expect(idOf(second, "web")).not.toBe(idOf(first, "web"));
    expect(idOf(second, "db")).toBe(idOf(first, "db"));

    await converge("Terminated", planTeardown, after);
    expect((await own.snapshot(signal)).projects.has(place.project)).toBe(false);
  });

  test("keeps the data of a volume that it mounts and does not declare, also when it is removed", async () => {
    await using place = await createPlayground();
    const desired = place.wants([{ name: "web", mounts: { data: "/data" } }]);
    await converge("Running", (one) => planProject(desired, one), desired);
    await docker("exec", `${desired.name}-web`, "sh", "-c", "echo precious > /data/file");
    await converge("Terminated", planTeardown, desired);
    await converge("Running", (one) => planProject(desired, one), desired);
    expect(await docker("exec", `${desired.name}-web`, "cat", "/data/file")).toContain("precious");
  });

  test.each([[["data"]], [[]]])(
    "of the other agent's making is taken over without a restart, with the volumes %j declared",
    async (volumes) => {
      await using place = await createPlayground();
      const desired = place.wants([{ name: "web", env: { A: "1" }, mounts: { data: "/data" } }], volumes);
      await own.createNetwork(desired.name, desired.network, signal);
      for (const volume of desired.volumes) await own.createVolume(desired.name, volume, signal);
      for (const service of desired.services) await place.byOtherAgent(service);
      expect(await converge("Running", (one) => planProject(desired, one), desired)).toEqual([]);
    },
  );
});
