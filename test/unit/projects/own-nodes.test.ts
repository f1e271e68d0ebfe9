// Whose things on a shared Docker are ours: by the label, under every name that this node had.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { openDatabase } from "../../../src/platform/database.ts";
import type { ObservedContainer, ObservedProject } from "../../../src/projects/observed.ts";
import { ownNodes, ownNodesMigration } from "../../../src/projects/own-nodes.ts";
import { isNothing, ownPart } from "../../../src/projects/reconcile-view.ts";

test("a node that was renamed still knows what it made under its old name", () => {
  const database = openDatabase(":memory:", [ownNodesMigration]);
  expect([...ownNodes(database, "old")]).toEqual(["old"]);
  expect([...ownNodes(database, "new")].sort()).toEqual(["new", "old"]);
  expect([...ownNodes(database, "old")].sort()).toEqual(["new", "old"]);
});

test("of very many names the oldest make way, never the one it has now", () => {
  const database = openDatabase(":memory:", [ownNodesMigration]);
  for (let n = 0; n < 150; n++) ownNodes(database, `n${n}`);
  const names = ownNodes(database, "n60");
  expect(names.size).toBeLessThanOrEqual(100);
  expect(names.has("n60") && names.has("n149")).toBe(true);
});

const container = (id: string): ObservedContainer => ({
  id,
  name: `shop-${id}`,
  service: id,
  role: "current",
  state: "running",
  image: "web:1",
  fingerprint: "f",
  made: undefined,
  networks: new Map(),
  since: 0,
  exit: undefined,
});

const maker = fc.constantFrom("me", "old-me", "other", undefined);
const scene = fc
  .record({
    containers: fc.array(maker, { maxLength: 4 }),
    network: fc.option(maker, { nil: null }),
    volumes: fc.array(maker, { maxLength: 3 }),
  })
  .map(({ containers, network, volumes }): ObservedProject => {
    const makers = new Map<string, string>();
    const note = (key: string, by: string | undefined): string => {
      if (by !== undefined) makers.set(key, by);
      return key;
    };
    return {
      containers: containers.map((by, n) => container(note(`c${n}`, by))),
      network: network === null ? undefined : note("net", network),
      volumes: new Set(volumes.map((by, n) => note(`v${n}`, by))),
      taken: new Map(),
      makers,
    };
  });

test("what another node's agent made is never in our part, nor what its containers stand on", () => {
  fc.assert(
    fc.property(scene, (observed) => {
      const own = ownPart(observed, new Set(["me", "old-me"]));
      const keys = [...own.containers.map(({ id }) => id), ...own.volumes, own.network ?? ""];
      expect(keys.filter((key) => observed.makers.get(key) === "other")).toEqual([]);
      if (observed.containers.some(({ id }) => observed.makers.get(id) === "other"))
        expect([own.network, own.volumes.size]).toEqual([undefined, 0]);
      // What carries no label, or ours, is all in it otherwise.
      const isOurs = (key: string): boolean => observed.makers.get(key) !== "other";
      expect(own.containers.length).toBe(observed.containers.filter(({ id }) => isOurs(id)).length);
      if (![...observed.makers.values()].includes("other"))
        expect({ ...own, makers: 0 }).toEqual({ ...observed, makers: 0 } as never);
      expect(isNothing(own)).toBe(keys.filter(Boolean).length === 0);
    }),
    { numRuns: 500 },
  );
});
