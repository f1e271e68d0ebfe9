// The planner: from any state of Docker a project converges, and nothing is touched that is not its own.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { type DesiredProject, desire } from "../../src/projects/plan/desired.ts";
import { fullReference } from "../../src/projects/plan/images.ts";
import { nameInRole } from "../../src/projects/plan/names.ts";
import { SETTLING, matches } from "../../src/projects/plan/service.ts";
import { planProject, planTeardown } from "../../src/projects/plan/project.ts";
import { CONTAINER_STATES } from "../../src/projects/plan/observed.ts";
import { type Behaviour, World } from "../support/docker-world.ts";

const PROJECT = "shop";
const image = fc.constantFrom("web:1", "web:2", "web", "db:1");
const service = (name: string) =>
  fc.record({
    name: fc.constant(name),
    image,
    env: fc.uniqueArray(
      fc.record({ name: fc.constantFrom("A", "B"), value: fc.constantFrom("", "1", "2") }),
      {
        selector: ({ name }) => name,
      },
    ),
    volumeMounts: fc.subarray([{ name: "data", mountPath: "/data" }]),
  });

const project = fc
  .uniqueArray(fc.constantFrom("web", "db", "cache"), { minLength: 1 })
  .chain((names) => fc.tuple(...names.map(service)))
  .map((services) =>
    desire({
      metadata: { name: PROJECT },
      spec: { services, volumes: [{ name: "data", type: "Ephemeral" }], ingress: [] },
      status: { phase: "Scheduled", nodeRef: "here" },
    }),
  );

const scene = fc.record({
  old: project,
  wanted: project,
  network: fc.constantFrom("fresh", "stale", "none"),
  volume: fc.boolean(),
  present: fc.subarray(["web:1", "web:2", "web", "db:1"]),
  containers: fc.array(
    fc.record({
      service: fc.constantFrom("web", "db", "cache", "gone"),
      role: fc.constantFrom("current", "next", "previous", "stray"),
      state: fc.constantFrom(
        ...CONTAINER_STATES.filter((state) => state !== "restarting" && state !== "removing"),
      ),
      from: fc.constantFrom("old", "wanted", "nothing"),
      attached: fc.boolean(),
      age: fc.integer({ min: 0, max: 5_000 }),
    }),
    { maxLength: 6 },
  ),
});
type Scene = typeof scene extends fc.Arbitrary<infer S> ? S : never;

function worldOf(
  { old, wanted, network, volume, present, containers }: Scene,
  behaviour: (fingerprint: string | undefined) => Behaviour = () => "runs",
  unpullable: ReadonlySet<string> = new Set(),
): World {
  const world = new World(PROJECT, behaviour, unpullable);
  if (network !== "none") world.network = "net0";
  if (volume) world.volumes.add("cara-shop-data");
  for (const one of present) world.present.add(fullReference(one));
  for (const one of containers) {
    const name =
      one.role === "stray" ? `renamed-${world.containers.size}` : nameInRole(PROJECT, one.service, one.role);
    if ([...world.containers.values()].some((other) => other.name === name)) continue;
    const from = one.from === "nothing" ? undefined : { old, wanted }[one.from as "old"];
    const made = from?.services.find(({ name: own }) => own === one.service);
    world.add({
      name,
      service: one.service,
      state: one.state,
      image: made?.image ?? "other:1",
      fingerprint: made?.fingerprint ?? "0000",
      networks: new Set([network === "stale" || !one.attached ? "lost" : "net0"]),
      since: world.now - one.age,
      exitCode: 1,
    });
  }
  return world;
}

const converged = (world: World, desired: DesiredProject): boolean => {
  const { containers, network } = world.observe();
  return (
    containers.length === desired.services.length &&
    desired.services.every((one) =>
      containers.some(
        (own) =>
          own.service === one.name &&
          own.role === "current" &&
          own.state === "running" &&
          matches(own, one) &&
          network !== undefined &&
          own.networks.has(network),
      ),
    )
  );
};

const RUNS = { numRuns: Number(process.env["FC_RUNS"] ?? 500) };

test("from any state of Docker a project that can run converges, and the plan is empty then", () => {
  fc.assert(
    fc.property(scene, (given) => {
      const world = worldOf(given);
      for (let round = 0; round < 80 && !converged(world, given.wanted); round++) world.round(given.wanted);
      expect(converged(world, given.wanted)).toBe(true);
      world.now += SETTLING;
      const plan = planProject(given.wanted, world.situation());
      expect(plan.steps).toEqual([]);
      expect(plan.report).toMatchObject({ phase: "Running", reason: "ContainersRunning" });
    }),
    RUNS,
  );
});

test("bringing a project up never removes a network or a volume", () => {
  fc.assert(
    fc.property(scene, fc.constantFrom<Behaviour>("runs", "ends", "refused"), (given, how) => {
      const world = worldOf(given, () => how);
      for (let round = 0; round < 60; round++) world.round(given.wanted);
      expect(world.done.filter((step) => step.do === "removeVolume" || step.do === "removeNetwork")).toEqual(
        [],
      );
    }),
    RUNS,
  );
});

test("a container that runs is never lost to a replacement that cannot run", () => {
  fc.assert(
    fc.property(project, project, fc.constantFrom<Behaviour>("ends", "refused"), (old, wanted, how) => {
      const changed = new Set(
        wanted.services
          .filter((one) => !old.services.some(({ fingerprint }) => fingerprint === one.fingerprint))
          .map(({ fingerprint }) => fingerprint),
      );
      const world = new World(PROJECT, (fingerprint) => (changed.has(fingerprint ?? "") ? how : "runs"));
      for (let round = 0; round < 40; round++) world.round(old);
      expect(converged(world, old)).toBe(true);
      for (let round = 0; round < 200; round++) world.round(wanted);
      const running = [...world.containers.values()].filter(({ state }) => state === "running");
      for (const before of old.services) {
        if (!wanted.services.some(({ name }) => name === before.name)) continue;
        expect(running.some(({ service: name }) => name === before.name)).toBe(true);
      }
    }),
    RUNS,
  );
});

test("an image that cannot be had fails the project with the registry's words, and costs nothing that runs", () => {
  fc.assert(
    fc.property(project, project, (old, wanted) => {
      const world = new World(PROJECT);
      for (let round = 0; round < 40; round++) world.round(old);
      const unpullable = new Set(["docker.io/library/none:1"]);
      const broken = new World(PROJECT, () => "runs", unpullable);
      for (const [id, one] of world.containers)
        broken.containers.set(`old-${id}`, { ...one, id: `old-${id}` });
      for (const volume of world.volumes) broken.volumes.add(volume);
      for (const one of world.present) broken.present.add(one);
      broken.network = world.network;
      broken.now = world.now;
      const bad = {
        ...wanted,
        services: wanted.services.map((one, n) =>
          n === 0 ? { ...one, image: "none:1", fingerprint: "never-seen" } : one,
        ),
      };
      let report;
      for (let round = 0; round < 60; round++) report = broken.round(bad).report ?? report;
      expect(report).toMatchObject({ phase: "Failed", reason: "ReconcileError" });
      expect(report?.message).toContain("manifest unknown");
      const name = bad.services[0]?.name;
      if (old.services.some((one) => one.name === name))
        expect(
          [...broken.containers.values()].some((one) => one.service === name && one.state === "running"),
        ).toBe(true);
    }),
    RUNS,
  );
});

test("an image that appears later is pulled, and heals the project that had failed for it", () => {
  fc.assert(
    fc.property(project, fc.integer({ min: 0, max: 60 }), (wanted, wait) => {
      const unpullable = new Set(["docker.io/library/none:1"]);
      const world = new World(PROJECT, () => "runs", unpullable);
      const late = {
        ...wanted,
        services: wanted.services.map((one, n) => (n === 0 ? { ...one, image: "none:1" } : one)),
      };
      const phases = new Set<string | undefined>();
      for (let round = 0; round < 30 + wait; round++) phases.add(world.round(late).report?.phase);
      expect([...phases].filter(Boolean)).toEqual(["Failed"]);
      unpullable.clear();
      for (let round = 0; round < 30 && !converged(world, late); round++) world.round(late);
      expect(converged(world, late)).toBe(true);
    }),
    { numRuns: 100 },
  );
});

test("a network or volume that Docker refuses to make keeps nothing down that can run without it", () => {
  fc.assert(
    fc.property(project, fc.constantFrom("network", "volume"), (wanted, refused) => {
      const world = new World(PROJECT);
      for (let round = 0; round < 40; round++) world.round(wanted);
      expect(converged(world, wanted)).toBe(true);
      world.refused.add(refused === "network" ? "createNetwork" : "createVolume");
      const more = { ...wanted, volumes: [...wanted.volumes, "cara-shop-more"] };
      if (refused === "network") world.network = undefined;
      for (const one of world.containers.values())
        Object.assign(one, { state: refused === "network" ? "paused" : "exited", exitCode: 1 });
      for (let round = 0; round < 60; round++) world.round(more);
      expect([...world.containers.values()].every(({ state }) => state === "running")).toBe(true);
    }),
    { numRuns: 100 },
  );
});

test("a job that ends with 0 by itself has run once and counts as well, and a service of the ingress is started again", () => {
  fc.assert(
    fc.property(project, (wanted) => {
      const [first] = wanted.services;
      const world = new World(PROJECT, (fingerprint) =>
        fingerprint === first?.fingerprint ? "ends well" : "runs",
      );
      let report;
      for (let round = 0; round < 100; round++) report = world.round(wanted).report ?? report;
      expect(report).toMatchObject({ phase: "Running", reason: "ContainersRunning" });
      expect(report?.message).toContain(`completed: ${first?.name}`);
      expect(world.history.restarts.size).toBe(0);
      const served = {
        ...wanted,
        services: wanted.services.map((one, n) => (n === 0 ? { ...one, isServed: true } : one)),
      };
      for (let round = 0; round < 100; round++) report = world.round(served).report ?? report;
      expect(report).toMatchObject({ phase: "Failed", reason: "ContainerExited" });
    }),
    { numRuns: 50 },
  );
});

test("a container that used up its restarts is told of as running again only when it has run for ten seconds", () => {
  fc.assert(
    fc.property(project, (wanted) => {
      let how: Behaviour = "ends soon";
      const world = new World(PROJECT, () => how);
      const phases = new Set<string | undefined>();
      for (let round = 0; round < 300; round++) phases.add(world.round(wanted).report?.phase);
      expect([...phases].filter(Boolean)).toEqual(["Failed"]);
      how = "runs";
      const healed = (): boolean => world.round(wanted).report?.phase === "Running";
      for (let round = 0; round < 100 && !healed(); round++);
      const started = Math.max(...world.history.starts.values());
      expect(world.now - started).toBeGreaterThanOrEqual(10_000);
      expect(converged(world, wanted)).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test("a teardown that Docker refuses goes on for ever, at a bounded rate, by force after the stop, and never fails", () => {
  fc.assert(
    fc.property(
      scene,
      fc.subarray(["stopContainer", "removeContainer", "removeNetwork"] as const, { minLength: 1 }),
      (given, refused) => {
        const world = worldOf(given);
        for (const step of refused) world.refused.add(step);
        const start = world.now;
        while (world.now < start + 3_600_000) {
          const plan = world.teardown();
          expect([undefined, "Terminated"]).toContain(plan.report?.phase as never);
        }
        // Six containers at most, each at 2, 4, 8, 16 and every 30 s.
        expect(world.done.length).toBeLessThan(6 * 130);
        world.refused.clear();
        let last;
        for (let round = 0; round < 30; round++) last = world.teardown();
        expect(last?.report?.phase).toBe("Terminated");
        expect([world.containers.size, world.network, world.volumes.size]).toEqual([0, undefined, 0]);
      },
    ),
    { numRuns: 100 },
  );
});

test("a container that always ends is started again a few times, then the project has failed with its exit code", () => {
  fc.assert(
    fc.property(project, (wanted) => {
      const world = new World(PROJECT, () => "ends");
      let report;
      for (let round = 0; round < 300; round++) report = world.round(wanted).report ?? report;
      expect(report).toMatchObject({ phase: "Failed", reason: "ContainerCrashed" });
      expect(report?.message).toContain("(exit=1)");
      for (const [, times] of world.history.restarts) {
        for (const at of times)
          expect(times.filter((one) => one > at - 600_000 && one <= at).length).toBeLessThan(6);
      }
    }),
    { numRuns: 50 },
  );
});

test("a container that ends a moment after its start is never told of as running, and has failed in the end", () => {
  fc.assert(
    fc.property(scene, (given) => {
      const world = worldOf({ ...given, containers: [] }, () => "ends soon");
      const phases = new Set<string | undefined>();
      for (let round = 0; round < 200; round++) phases.add(world.round(given.wanted).report?.phase);
      expect([...phases].filter(Boolean)).toEqual(["Failed"]);
    }),
    { numRuns: 100 },
  );
});

test("a container that runs on is told of as running so long after its start, whatever was looked at before", () => {
  fc.assert(
    fc.property(project, fc.array(fc.integer({ min: 1, max: 100 }), { maxLength: 10 }), (wanted, pauses) => {
      const world = new World(PROJECT);
      for (let round = 0; round < 20 && !converged(world, wanted); round++) world.round(wanted);
      const started = Math.max(...world.history.starts.values());
      for (const pause of pauses) {
        world.now += pause;
        const { report, planAgainAt } = planProject(wanted, world.situation());
        if (world.now < started + SETTLING) expect(planAgainAt).toBeLessThanOrEqual(started + SETTLING);
        else expect(report?.phase).toBe("Running");
      }
    }),
    { numRuns: 200 },
  );
});

test("a teardown removes everything of the project, from any state, containers first", () => {
  fc.assert(
    fc.property(scene, (given) => {
      const world = worldOf(given);
      let last;
      for (let round = 0; round < 20; round++) {
        last = planTeardown(world.situation());
        for (const step of last.steps) {
          if (step.do === "removeVolume" || step.do === "removeNetwork")
            expect(world.containers.size).toBe(0);
          world.apply(step);
        }
        world.now += 50;
      }
      expect(last?.report).toMatchObject({ phase: "Terminated", reason: "ResourcesRemoved" });
      expect([world.containers.size, world.network, world.volumes.size]).toEqual([0, undefined, 0]);
    }),
    RUNS,
  );
});

test("a container whose name another one holds is never made, and the project says who holds it", () => {
  fc.assert(
    fc.property(project, (wanted) => {
      const world = new World(PROJECT);
      const [first] = wanted.services;
      if (first === undefined) return;
      world.taken.set(first.name, "container 0123 (nginx)");
      let report;
      for (let round = 0; round < 30; round++) report = world.round(wanted).report ?? report;
      expect(report?.message).toContain("0123");
      expect([...world.containers.values()].some(({ service: name }) => name === first.name)).toBe(false);
    }),
    RUNS,
  );
});
