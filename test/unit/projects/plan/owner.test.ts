// What the owner of a machine forbids is not made, whatever the control plane assigns; what is made has the owner's limits.
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { MIB } from "../../../../src/lib/size.ts";
import { type DesiredProject, desire } from "../../../../src/projects/plan/desired.ts";
import { type OwnerPolicy, applyOwnerPolicy } from "../../../../src/projects/plan/owner.ts";
import { World } from "../../../support/docker-world.ts";

const projectOf = (...images: string[]): DesiredProject =>
  desire({
    metadata: { name: "shop" },
    spec: {
      services: images.map((image, n) => ({ name: `s${n}`, image, env: [], volumeMounts: [] })),
      volumes: [],
      ingress: [],
    },
    status: { phase: "Scheduled", nodeRef: "here" },
  });
const owner = (policy: Partial<OwnerPolicy>): OwnerPolicy => ({
  allowProjects: true,
  registries: undefined,
  container: {},
  project: {},
  ...policy,
});
const refusalsOf = (project: DesiredProject, policy: Partial<OwnerPolicy>): (string | undefined)[] =>
  applyOwnerPolicy(project, owner(policy)).services.map(({ refusal }) => refusal);

test("without a word of the owner a project is what it was", () => {
  const project = projectOf("nginx", "ghcr.io/acme/web");
  expect(applyOwnerPolicy(project, owner({}))).toEqual(project);
});

test("no project runs where the owner forbids them, and the setting is named", () => {
  expect(refusalsOf(projectOf("nginx"), { allowProjects: false })).toEqual([
    "the owner of this machine forbids projects (allow_projects)",
  ]);
});

test.each([
  ["nginx", ["docker.io"], true],
  ["nginx", ["docker.io/library"], true],
  ["nginx", ["DOCKER.IO/Library/"], true],
  ["someone/nginx", ["docker.io/library"], false],
  ["ghcr.io/acme/web:1", ["docker.io", "ghcr.io/acme"], true],
  ["ghcr.io/acme-evil/web:1", ["ghcr.io/acme"], false],
  ["ghcr.io.example.com/acme/web", ["ghcr.io"], false],
  ["ghcr.io/acme/web@sha256:00", ["ghcr.io"], true],
  ["localhost:5000/web", ["localhost:5000"], true],
  ["localhost:5001/web", ["localhost:5000"], false],
  ["nginx", [], false],
])("%s from %j: %p", (image, registries, allowed) => {
  const [refusal] = refusalsOf(projectOf(image), { registries });
  expect(refusal === undefined).toBe(allowed);
  if (!allowed) expect(refusal).toContain("(allow_registries)");
});

describe("a service that the owner forbids", () => {
  const allowed = projectOf("web:1");

  test("is reported as failed with the setting, and nothing is made", () => {
    const world = new World("shop");
    world.present.add("docker.io/library/web:1");
    const refused = applyOwnerPolicy(allowed, owner({ allowProjects: false }));
    for (let round = 0; round < 20; round++) world.round(refused);
    expect(world.round(refused).report).toEqual({
      phase: "Failed",
      reason: "ReconcileError",
      message: "s0: the owner of this machine forbids projects (allow_projects)",
    });
    expect(world.containers.size).toBe(0);
  });

  test("keeps the container that it has from before", () => {
    const world = new World("shop");
    world.present.add("docker.io/library/web:1");
    for (let round = 0; round < 20; round++) world.round(allowed);
    const before = structuredClone([...world.containers.values()]);
    expect(before).toHaveLength(1);
    const refused = applyOwnerPolicy(projectOf("web:1"), owner({ registries: ["ghcr.io"] }));
    for (let round = 0; round < 20; round++) world.round(refused);
    expect([...world.containers.values()]).toEqual(before);
  });
});

describe("the owner's limits", () => {
  const three = projectOf("a", "b", "c");

  test("of a container are in each of its services, and make another container of it", () => {
    const container = { memory: 64 * MIB, cpu: 50, pids: 100 };
    const { services } = applyOwnerPolicy(three, owner({ container }));
    expect(services.map(({ limits }) => limits)).toEqual([container, container, container]);
    services.forEach(({ fingerprint }, n) => expect(fingerprint).not.toBe(three.services[n]?.fingerprint));
    const other = applyOwnerPolicy(three, owner({ container: { ...container, pids: 101 } }));
    expect(other.services[0]?.fingerprint).not.toBe(services[0]?.fingerprint);
    expect(applyOwnerPolicy(three, owner({ container })).services).toEqual(services);
  });

  test("replace a container that the Go agent made without them", () => {
    const world = new World("shop");
    world.present.add("docker.io/library/web:1");
    world.network = "net";
    world.add({
      name: "shop-s0",
      service: "s0",
      state: "running",
      image: "web:1",
      fingerprint: undefined,
      networks: new Set(["net"]),
      since: 0,
      exitCode: 0,
    });
    const wanted = projectOf("web:1");
    for (let round = 0; round < 20; round++) world.round(wanted);
    expect([...world.containers.values()].map(({ fingerprint }) => fingerprint)).toEqual([undefined]);
    const limited = applyOwnerPolicy(wanted, owner({ container: { pids: 10 } }));
    for (let round = 0; round < 20; round++) world.round(limited);
    expect([...world.containers.values()].map(({ fingerprint, state }) => [fingerprint, state])).toEqual([
      [limited.services[0]?.fingerprint, "running"],
    ]);
  });

  test("of a project are shared where a container has none", () => {
    const { services } = applyOwnerPolicy(three, owner({ project: { memory: 100 * MIB, pids: 100 } }));
    expect(services[0]?.limits).toEqual({ memory: Math.floor((100 * MIB) / 3), pids: 33 });
  });

  test.each([
    [
      { container: { memory: 64 * MIB }, project: { memory: 128 * MIB } },
      "the owner of this machine allows a project 128MiB of memory (project_memory_max), " +
        "too little for 3 containers with 64MiB of memory each (container_memory_max)",
    ],
    [
      { project: { memory: 16 * MIB } },
      "the owner of this machine allows a project 16MiB of memory (project_memory_max), " +
        "too little for 3 containers with at least 6MiB of memory each (container_memory_max)",
    ],
    [{ container: { cpu: 50 }, project: { cpu: 149 } }, "149 % of a core (project_cpu_quota)"],
    [{ project: { pids: 2 } }, "at least 1 processes each (container_pids_max)"],
  ])("that are too small for a project refuse it: %j", (policy, text) => {
    for (const refusal of refusalsOf(three, policy)) expect(refusal).toContain(text);
  });

  test("are never exceeded by a project that may run", () => {
    const limit = fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined });
    const limits = fc.record({ memory: limit.map((n) => n && n * MIB), cpu: limit, pids: limit });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), limits, limits, (count, container, project) => {
        const { services } = applyOwnerPolicy(
          projectOf(...Array.from({ length: count }, (_, n) => `image${n}`)),
          owner({ container, project }),
        );
        if (services.some(({ refusal }) => refusal !== undefined)) return;
        for (const key of ["memory", "cpu", "pids"] as const) {
          const all = services.map(({ limits }) => limits?.[key]);
          if (container[key] !== undefined) for (const one of all) expect(one).toBe(container[key]);
          const most = project[key];
          if (most !== undefined)
            expect(all.reduce<number>((sum, one) => sum + (one ?? Infinity), 0)).toBeLessThanOrEqual(most);
        }
      }),
    );
  });
});
