// From a specification to what is made here: no mount of a service is ever left out.
import { expect, test } from "bun:test";
import { NO_HISTORY } from "../../../../src/projects/plan/history.ts";
import { desire } from "../../../../src/projects/plan/desired.ts";
import type { ObservedContainer } from "../../../../src/projects/plan/observed.ts";
import { matches, planService } from "../../../../src/projects/plan/service.ts";

type Spec = Parameters<typeof desire>[0]["spec"];

const shop = (mounts: Spec["services"][0]["volumeMounts"], volumes: Spec["volumes"] = [], image = "web:1") =>
  desire({
    metadata: { name: "shop" },
    spec: { services: [{ name: "web", image, env: [], volumeMounts: mounts }], volumes, ingress: [] },
    status: { phase: "Scheduled", nodeRef: "here" },
  });

const DATA = [{ name: "data", mountPath: "/data" }];

test.each([
  ["not declared", []],
  ["of an unknown type", [{ name: "data", type: "Persistent" }]],
])(
  "a mount whose volume is %s is bound by the other agent's name, and the volume is not made as the project's",
  (_, volumes) => {
    const { services, volumes: made, warnings } = shop(DATA, volumes);
    expect(services[0]?.mounts).toEqual([{ volume: "cara-shop-data", path: "/data", declared: false }]);
    expect(made).toEqual([]);
    expect(warnings.join()).toContain("cara-shop-data is used, and is not removed with the project");
  },
);

test("the fingerprint of a container does not depend on whether its volume is declared", () => {
  const declared = shop(DATA, [{ name: "data", type: "Ephemeral" }]);
  expect(shop(DATA).services[0]?.fingerprint).toBe(declared.services[0]?.fingerprint as string);
});

/** A running container of the other agent with this mount. */
const adopted = (mount: string): ObservedContainer => ({
  id: "a",
  name: "shop-web",
  service: "web",
  role: "current",
  state: "running",
  image: "web:1",
  fingerprint: undefined,
  made: { env: [], mounts: [mount], networks: ["cara-shop"], restarts: false },
  networks: new Map([["net", ""]]),
  since: 0,
  exit: undefined,
});

test("a container of the other agent with a mount that is not declared is taken over as it is", () => {
  const [web] = shop([{ name: "data", mountPath: "/data/" }]).services;
  if (web !== undefined) expect(matches(adopted("cara-shop-data:/data"), web)).toBe(true);
});

test("a container of the other agent is never replaced by one that would lose a mount", () => {
  const [service] = shop([], [], "web:2").services;
  if (service === undefined) throw new Error("no service");
  const decision = planService({
    service,
    observed: {
      containers: [adopted("cara-shop-data:/data")],
      network: "net",
      volumes: new Set(),
      taken: new Map(),
      makers: new Map(),
    },
    history: NO_HISTORY,
    images: { present: new Set(["docker.io/library/web:2"]), pulls: new Map() },
    policy: {
      pull: "if-not-present",
      restart: { limit: 5, window: 1 },
    },
    now: 1_000,
  });
  expect(decision).toEqual({
    is: "failed",
    reason: "ReconcileError",
    message: "the new version would not have cara-shop-data:/data; the previous one still runs",
  });
});
