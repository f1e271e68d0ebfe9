// Which host leads where: names, whose they are, and the address of the container that serves.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { type DesiredProject, desire } from "../../../../src/projects/plan/desired.ts";
import type { Snapshot } from "../../../../src/projects/plan/engine.ts";
import { type Role, nameInRole } from "../../../../src/projects/plan/names.ts";
import type { ContainerState, ObservedContainer } from "../../../../src/projects/plan/observed.ts";
import { ingressWarnings, ingressRoutesOf } from "../../../../src/projects/plan/ingress-table.ts";

interface Rule {
  readonly name?: string;
  readonly host?: string;
  readonly service?: string;
  readonly port?: number;
}

const project = (name: string, ...rules: Rule[]): DesiredProject =>
  desire({
    metadata: { name },
    spec: {
      services: [{ name: "web", image: "web:1", env: [], volumeMounts: [] }],
      volumes: [],
      ingress: rules.map(({ name = "", host = "", service = "web", port = 80 }) => ({
        name,
        host,
        target: { service, port },
      })),
    },
    status: { phase: "Running", nodeRef: "here" },
  });

const container = (
  role: Role,
  address: string,
  state: ContainerState = "running",
  service = "web",
): ObservedContainer => ({
  id: `${service}-${role}`,
  name: nameInRole("shop", service, role),
  service,
  role,
  state,
  image: "web:1",
  fingerprint: "f",
  made: undefined,
  networks: new Map([
    ["other", "10.9.9.9"],
    ["net", address],
  ]),
  since: 0,
  exit: undefined,
});

const snapshot = (...containers: ObservedContainer[]): Snapshot => ({
  projects: new Map([
    ["shop", { containers, network: "net", volumes: new Set<string>(), taken: new Map(), makers: new Map() }],
  ]),
  foreign: new Map(),
  unowned: new Map(),
  images: new Set(),
  at: 0,
});

const hosts = (...projects: DesiredProject[]): string[] =>
  ingressRoutesOf(projects, undefined).map(({ host }) => host);

test.each([
  [{ host: "www.example.com" }, "www.example.com"],
  [{ host: "WWW.Example.COM" }, "www.example.com"],
  [{ host: "www.example.com." }, "www.example.com"],
  [{ host: "api" }, "api.shop.local"],
  [{ host: "API" }, "api.shop.local"],
  [{}, "shop.local"],
  [{ name: "front" }, "shop.local"],
  [{ name: "front", host: "back" }, "back.shop.local"],
  [{ host: "my_app.test" }, "my_app.test"],
])("%j is served as %s", (rule, host) => {
  expect(hosts(project("shop", rule))).toEqual([host]);
  expect(ingressWarnings([project("shop", rule)])).toEqual([]);
});

test.each([
  [{ host: "a b.test" }, '"a b.test" is not a host name'],
  [{ host: "*.example.com" }, "is not a host name"],
  [{ host: "example.com:8080" }, "is not a host name"],
  [{ host: "http://example.com" }, "is not a host name"],
  [{ host: "-a.example.com" }, "is not a host name"],
  [{ host: "a..example.com" }, "is not a host name"],
  [{ host: "." }, '"" is not a host name'],
  [{ host: `${"a".repeat(64)}.test` }, "is not a host name"],
  [{ host: `${"a.".repeat(127)}test` }, "longer than 253"],
  [{ host: "<b>.test" }, "is not a host name"],
])("%j is left out with a warning", (rule, warning) => {
  const shop = project("shop", rule, { host: "good.test" });
  expect(hosts(shop)).toEqual(["good.test"]);
  expect(ingressWarnings([shop])).toEqual([expect.stringContaining(warning)]);
});

test("of two projects the one whose name comes first has a host, whatever their order", () => {
  const [a, b] = [project("a", { host: "x.test", port: 1 }), project("b", { host: "x.test", port: 2 })];
  for (const order of [
    [a, b],
    [b, a],
  ]) {
    expect(ingressRoutesOf(order, undefined)).toMatchObject([{ host: "x.test", project: "a", port: 1 }]);
    expect(ingressWarnings(order)).toEqual([
      "project b, ingress x.test: the host x.test belongs to project a already",
    ]);
  }
});

test("no project takes a host that is made of another's name", () => {
  const thief = project("a", { host: "web.shop.local" });
  const owner = project("shop", { host: "web" });
  expect(ingressRoutesOf([thief, owner], undefined)).toMatchObject([
    { host: "web.shop.local", project: "shop" },
  ]);
});

test("no project takes the host of another's rule without a host", () => {
  const thief = project("a", { host: "shop.local" });
  expect(ingressRoutesOf([thief, project("shop", {})], undefined)).toMatchObject([
    { host: "shop.local", project: "shop" },
  ]);
});

test("of two rules of a project the first one counts", () => {
  const shop = project("shop", { host: "x.test", port: 1 }, { host: "X.test", port: 2 });
  expect(ingressRoutesOf([shop], undefined)).toMatchObject([{ port: 1 }]);
  expect(ingressWarnings([shop])).toEqual([expect.stringContaining("is listed twice")]);
});

test("a rule for a service that is not there keeps its host, without an address, and is warned of", () => {
  const shop = project("shop", { host: "x.test", service: "nobody" });
  expect(ingressRoutesOf([shop], snapshot(container("current", "10.0.0.2")))).toMatchObject([
    { address: undefined },
  ]);
  expect(ingressWarnings([shop])).toEqual([expect.stringContaining("no service nobody")]);
});

test.each([
  ["it runs", [container("current", "10.0.0.2")], "10.0.0.2"],
  ["nothing is there", [], undefined],
  ["it has ended", [container("current", "10.0.0.2", "exited")], undefined],
  ["it is paused", [container("current", "10.0.0.2", "paused")], undefined],
  ["it has no address", [container("current", "")], undefined],
  [
    "its replacement runs beside it",
    [container("next", "10.0.0.3"), container("current", "10.0.0.2")],
    "10.0.0.2",
  ],
  ["only its replacement runs", [container("next", "10.0.0.3")], undefined],
  ["there is only the one before", [container("previous", "10.0.0.4")], "10.0.0.4"],
  [
    "the one before still runs",
    [container("previous", "10.0.0.4"), container("current", "10.0.0.2", "exited")],
    undefined,
  ],
  ["another service runs", [container("current", "10.0.0.5", "running", "db")], undefined],
])("the address when %s", (_, containers, address) => {
  expect(ingressRoutesOf([project("shop", { host: "x" })], snapshot(...containers))).toEqual([
    { host: "x.shop.local", project: "shop", service: "web", address, port: 80 },
  ]);
});

test("without a snapshot, and without the project's network, there is no address", () => {
  const shop = project("shop", { host: "x" });
  expect(ingressRoutesOf([shop], undefined)[0]?.address).toBeUndefined();
  const seen = snapshot(container("current", "10.0.0.2")).projects.get("shop");
  if (seen === undefined) throw new Error("it is there");
  const bare = { ...snapshot(), projects: new Map([["shop", { ...seen, network: undefined }]]) };
  expect(ingressRoutesOf([shop], bare)[0]?.address).toBeUndefined();
});

const rule = fc.record({
  name: fc.constantFrom("", "web", "api"),
  host: fc.oneof(fc.constantFrom("", "web", "x.test", "X.test", "web.a.local", "web.b.local"), fc.string()),
});
const world = fc.dictionary(fc.constantFrom("a", "b", "c", "a.b"), fc.array(rule, { maxLength: 4 }), {
  maxKeys: 4,
  noNullPrototype: true,
});

test("every host stands once and is one, no order of projects matters, and each rule is a route or a warning", () => {
  fc.assert(
    fc.property(world, fc.func(fc.integer()), (rules, shuffle) => {
      const projects = Object.entries(rules).map(([name, rules]) => project(name, ...rules));
      const routes = ingressRoutesOf(projects, undefined);
      const shuffled = projects.toSorted((a, b) => shuffle(a.name) - shuffle(b.name));
      expect(ingressRoutesOf(shuffled, undefined)).toEqual(routes);
      expect(new Set(routes.map(({ host }) => host)).size).toBe(routes.length);
      for (const { host } of routes) expect(host).toMatch(/^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?$/);
      const all = projects.reduce((sum, { ingress }) => sum + ingress.length, 0);
      expect(routes.length + ingressWarnings(projects).length).toBe(all);
    }),
  );
});
