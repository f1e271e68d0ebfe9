// Labels are no proof: without a record nothing is ours that differs in any part from what the server wants here.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { silent } from "../../src/platform/log.ts";
import { desire } from "../../src/projects/plan/desired.ts";
import { roleOf } from "../../src/projects/plan/names.ts";
import type { ObservedContainer, ObservedProject } from "../../src/projects/plan/observed.ts";
import { createOwnership, divide } from "../../src/projects/plan/ownership.ts";
import type { Making } from "../../src/projects/reconcile/records.ts";

const wanted = desire({
  metadata: { name: "shop" },
  spec: {
    services: [
      {
        name: "web",
        image: "web:1",
        env: [{ name: "A", value: "1" }],
        volumeMounts: [{ name: "data", mountPath: "/data" }],
      },
    ],
    volumes: [{ name: "data", type: "Ephemeral" }],
    ingress: [],
  },
  status: { phase: "Scheduled", nodeRef: "here" },
});
const print = wanted.services[0]?.fingerprint as string;

/** One part of a container that may be as it should be, or not. */
const part = <T>(right: T, ...wrong: T[]) => fc.constantFrom(right, right, right, ...wrong);

const container = fc
  .record({
    name: part("shop-web", "shop-web_next", "other"),
    service: part("web", "db"),
    image: part("web:1", "evil:1"),
    env: part(["A=1", "PATH=/bin"], ["PATH=/bin"]),
    mounts: part(["cara-shop-data:/data"], [], ["cara-shop-data:/data", "/root:/host"]),
    networks: part(["cara-shop"], ["bridge"]),
    restarts: part(false, true),
    fingerprint: fc.constantFrom(undefined, print, "copied"),
  })
  .map(({ name, service, image, fingerprint, ...made }): ObservedContainer => ({
    id: "c1",
    name,
    service,
    role: roleOf("shop", service, name),
    state: "running",
    image,
    fingerprint,
    made,
    networks: new Map([["n1", ""]]),
    since: 0,
    exit: undefined,
  }));

const seen = (one: ObservedContainer): ObservedProject => ({
  containers: [one],
  network: "n1",
  volumes: new Set(["cara-shop-data", "cara-shop-other"]),
  taken: new Map(),
  makers: new Map(),
});
const NO_RECORDS = { has: () => false, wasBegun: () => false };

const isRight = ({ name, service, image, made, fingerprint }: ObservedContainer): boolean =>
  name === (fingerprint === undefined ? "shop-web" : name) &&
  roleOf("shop", service, name) !== undefined &&
  service === "web" &&
  image === "web:1" &&
  made?.env.includes("A=1") === true &&
  made.mounts.join() === "cara-shop-data:/data" &&
  made.networks.includes("cara-shop") &&
  !made.restarts &&
  fingerprint !== "copied";

test("without a record a container is taken over only when every part of it is as the server wants it", () => {
  let taken = 0;
  fc.assert(
    fc.property(container, (one) => {
      const { own, rest, adopt } = divide("shop", seen(one), NO_RECORDS, wanted);
      expect(own.containers.length === 1).toBe(isRight(one));
      expect(rest.containers.length).toBe(1 - own.containers.length);
      expect(adopt.some(({ id }) => id === "c1")).toBe(isRight(one));
      taken += own.containers.length;
    }),
    { numRuns: 2_000 },
  );
  expect(taken).toBeGreaterThan(0);
});

test("without a record nothing is ours of a project that the server does not list", () => {
  fc.assert(
    fc.property(container, (one) => {
      const { own, rest } = divide("shop", seen(one), NO_RECORDS, undefined);
      expect([own.containers.length, own.network, own.volumes.size]).toEqual([0, undefined, 0]);
      expect(rest).toEqual(seen(one));
    }),
  );
});

test("the data that is on no record is named, and left alone", () => {
  const one = fc.sample(container, 1)[0] as ObservedContainer;
  const ownership = createOwnership({
    records: { ...NO_RECORDS, begin() {}, made() {}, refused() {}, prune() {} },
    desired: () => undefined,
    log: silent,
  });
  const snapshot = { projects: new Map([["shop", seen(one)]]), foreign: new Map(), unowned: new Map() };
  const { projects, unowned, foreign } = ownership.own({ ...snapshot, images: new Set(), at: 0 });
  expect(projects.size).toBe(0);
  expect(unowned.get("shop")).toEqual({
    containers: 1,
    volumes: ["cara-shop-data", "cara-shop-other"],
    node: "",
  });
  expect(foreign.get(one.name)).toContain("with the labels of project shop");
});

test("a volume that is on no record is ours only when the specification declares it", () => {
  const one = fc.sample(container, 1)[0] as ObservedContainer;
  const { own, rest } = divide("shop", seen(one), NO_RECORDS, wanted);
  expect([[...own.volumes], [...rest.volumes]]).toEqual([["cara-shop-data"], ["cara-shop-other"]]);
});

test("what is on record is ours whatever it looks like, and what was begun is by name and fingerprint alone", () => {
  fc.assert(
    fc.property(container, (one) => {
      const records = { has: (_: string, id: string) => id === "c1", wasBegun: () => false };
      expect(divide("shop", seen(one), records, undefined).own.containers).toEqual([one]);
      const begun = {
        has: () => false,
        wasBegun: ({ name, fingerprint }: Making) => name === "shop-web" && fingerprint === print,
      };
      const isBegun = one.name === "shop-web" && one.fingerprint === print;
      expect(divide("shop", seen(one), begun, undefined).own.containers.length === 1).toBe(isBegun);
    }),
  );
});
