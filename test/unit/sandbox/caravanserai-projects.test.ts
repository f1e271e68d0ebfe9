// Projects of the Caravanserai side: what operators write, what agents ask and report, how they end.
import { expect, test } from "bun:test";
import {
  beat,
  cara,
  caraSandbox,
  isGone,
  projectDocument,
  reaches,
  readyNode,
  report,
  runningProject,
  twoPasses,
} from "./caravanserai-harness.ts";

const ZERO = "0001-01-01T00:00:00Z";

test("a new project is Pending and has no node", async () => {
  await using sandbox = await caraSandbox();
  const { status, body } = await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"));
  expect(status).toBe(201);
  expect(body).toEqual({
    apiVersion: "caravanserai/v1",
    kind: "Project",
    metadata: { name: "shop", createdAt: expect.stringMatching(/^20/), updatedAt: ZERO },
    spec: { services: [{ name: "web", image: "busybox:1" }], expireAt: ZERO },
    status: { phase: "Pending", nodeRef: "" },
  });
  expect((await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"))).status).toBe(409);
});

test("everything of a spec that the contract names comes back, and nothing else", async () => {
  await using sandbox = await caraSandbox();
  const spec = {
    services: [
      {
        name: "web",
        image: "nginx:1",
        env: [{ name: "A", value: "1" }, { name: "B" }],
        volumeMounts: [{ name: "data", mountPath: "/data" }],
      },
    ],
    volumes: [{ name: "data", type: "Ephemeral" }],
    ingress: [
      { name: "http", host: "shop", target: { service: "web", port: 80 }, access: { scope: "Internal" } },
    ],
    expireAt: "2099-01-01T00:00:00Z",
  };
  await cara(sandbox, "POST /api/v1/projects", projectDocument("shop", { ...spec, replicas: 3 }));
  expect((await cara(sandbox, "GET /api/v1/projects/shop")).body["spec"]).toEqual(spec);
});

const service = { name: "web", image: "busybox:1" };

test.each([
  ["no services", { services: [] }, "spec.services: at least one service is required"],
  ["services left out", { services: undefined }, "spec.services: is required"],
  ["a service without a name", { services: [{ image: "a" }] }, "spec.services[0].name: is required"],
  [
    "a service without an image",
    { services: [service, { name: "db" }] },
    "spec.services[1].image: is required",
  ],
  ["an empty image", { services: [{ name: "db", image: "" }] }, "spec.services[0].image: is required"],
  ["one name twice", { services: [service, service] }, "spec.services: service web stands twice"],
  [
    "a number for a value",
    { services: [{ ...service, env: [{ name: "A", value: 1 }] }] },
    "spec.services[0].env[0].value: must be a string",
  ],
  [
    "a mount without a path",
    { services: [{ ...service, volumeMounts: [{ name: "a" }] }] },
    "spec.services[0].volumeMounts[0].mountPath: is required",
  ],
  ["volumes that are no list", { volumes: "data" }, "spec.volumes: must be a list"],
  [
    "a time that is none",
    { expireAt: "tomorrow" },
    "spec.expireAt: must be a time like 2030-01-31T12:00:00Z",
  ],
])("a spec with %s is 400", async (_, spec, detail) => {
  await using sandbox = await caraSandbox();
  const { status, body } = await cara(sandbox, "POST /api/v1/projects", projectDocument("shop", spec));
  expect([status, body["detail"]]).toEqual([400, detail]);
  expect(sandbox.projects()).toEqual([]);
});

test.each([
  [
    "a mount of a volume that is not listed",
    { services: [{ ...service, volumeMounts: [{ name: "x", mountPath: "/x" }] }] },
  ],
  ["an unknown type of volume", { volumes: [{ name: "a", type: "Persistent" }] }],
  [
    "null for an empty list",
    { services: [{ ...service, env: null, volumeMounts: null }], volumes: null, ingress: null },
  ],
])("%s passes", async (_, spec) => {
  await using sandbox = await caraSandbox();
  expect((await cara(sandbox, "POST /api/v1/projects", projectDocument("shop", spec))).status).toBe(201);
});

test.each([
  ["another apiVersion", { apiVersion: "v1" }, 'apiVersion: must be "caravanserai/v1"'],
  ["no apiVersion", { apiVersion: undefined }, "apiVersion: is required"],
  ["another kind", { kind: "Node" }, "kind: must be Project"],
  ["an unknown kind", { kind: "Deployment" }, 'kind: unknown kind "Deployment"; there are Project and Node'],
  ["no metadata", { metadata: undefined }, "metadata: is required"],
  [
    "a bad name",
    { metadata: { name: "My Shop" } },
    expect.stringContaining("metadata.name: must consist of"),
  ],
  [
    "labels that are numbers",
    { metadata: { name: "a", labels: { a: 1 } } },
    "metadata.labels.a: must be a string",
  ],
])("a document with %s is 400", async (_, change, detail) => {
  await using sandbox = await caraSandbox();
  const { status, body } = await cara(sandbox, "POST /api/v1/projects", {
    ...projectDocument("shop"),
    ...change,
  });
  expect([status, body["detail"]]).toEqual([400, detail]);
});

test("phases of the list are joined by OR, the node by AND", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "a", "n1");
  sandbox.setUnschedulable("n1", true);
  await readyNode(sandbox, "n2");
  for (const name of ["b", "c"]) {
    await cara(sandbox, "POST /api/v1/projects", projectDocument(name));
    await reaches(sandbox, name, "Scheduled");
  }
  await cara(sandbox, "DELETE /api/v1/projects/c");
  const list = async (query: string): Promise<string[]> => {
    const { body } = await cara(sandbox, `GET /api/v1/projects?${query}`);
    expect(body["kind"]).toBe("ProjectList");
    return (body["items"] as { metadata: { name: string } }[]).map(({ metadata }) => metadata.name);
  };
  expect(await list("")).toEqual(["a", "b", "c"]);
  expect(await list("phase=Scheduled&phase=Running")).toEqual(["a", "b"]);
  expect(await list("phase=Scheduled&phase=Running&phase=Terminating&nodeRef=n2")).toEqual(["b", "c"]);
  expect(await list("nodeRef=n1")).toEqual(["a"]);
  expect(await list("nodeRef=nobody")).toEqual([]);
  expect((await cara(sandbox, "GET /api/v1/projects?phase=running")).status).toBe(400);
});

test("a report is 204 without a body, and shows in the conditions", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  const answer = await report(
    sandbox,
    "shop",
    "Failed",
    "ContainerCrashed",
    "Containers crashed: db(exit=137)",
  );
  expect([answer.status, answer.body]).toEqual([204, {}]);
  expect(sandbox.project("shop").status).toMatchObject({ phase: "Failed", nodeRef: "n1" });
  expect(sandbox.project("shop").status.conditions).toContainEqual({
    type: "Ready",
    status: "False",
    reason: "ContainerCrashed",
    message: "Containers crashed: db(exit=137)",
    lastTransitionTime: expect.stringMatching(/^20/),
  });
});

test("a report of an unknown phase is 400, one about an unknown project 404", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  expect((await report(sandbox, "shop", "Broken")).status).toBe(400);
  expect((await cara(sandbox, "PATCH /api/v1/projects/shop/status", {})).status).toBe(400);
  expect((await report(sandbox, "other", "Running")).status).toBe(404);
  expect(sandbox.project("shop").status.phase).toBe("Running");
});

test("reports are stored in order, also after the project is removed", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  await cara(sandbox, "DELETE /api/v1/projects/shop");
  await report(sandbox, "shop", "Terminated", "ResourcesRemoved", "all gone");
  await cara(sandbox, "DELETE /api/v1/projects/shop");
  await isGone(sandbox, "shop");
  expect(sandbox.projectReports("shop")).toEqual([
    { phase: "Running", reason: "ContainersRunning", message: "", at: expect.any(String) },
    {
      phase: "Terminated",
      reason: "ResourcesRemoved",
      message: "all gone",
      at: expect.any(String),
    },
  ]);
});

test("a report leads from any phase to any other: no transition is checked", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  for (const phase of ["Failed", "Running", "Scheduled", "Failed", "Running"]) {
    expect((await report(sandbox, "shop", phase)).status).toBe(204);
    expect(sandbox.project("shop").status).toMatchObject({ phase, nodeRef: "n1" });
  }
});

test("a report of the phase that it is in changes what stands beside it", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  await cara(sandbox, "DELETE /api/v1/projects/shop");
  await report(sandbox, "shop", "Terminating", "RemoveError", "has active endpoints");
  expect(sandbox.project("shop").status.phase).toBe("Terminating");
  expect(sandbox.project("shop").status.conditions).toContainEqual(
    expect.objectContaining({ type: "Ready", reason: "RemoveError", message: "has active endpoints" }),
  );
});

test("another spec is 409 while Scheduled, Running or Terminating, and the old one stays", async () => {
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"));
  await reaches(sandbox, "shop", "Scheduled");
  const change = projectDocument("shop", { services: [{ name: "web", image: "busybox:2" }] });
  const refused = async (phase: string): Promise<void> => {
    const { status, body } = await cara(sandbox, "PUT /api/v1/projects/shop", change);
    expect([status, body["detail"]]).toEqual([409, expect.stringContaining(`"shop" is ${phase}:`)]);
  };
  await refused("Scheduled");
  await report(sandbox, "shop", "Running");
  await refused("Running");
  await cara(sandbox, "DELETE /api/v1/projects/shop");
  await refused("Terminating");
  expect(sandbox.project("shop").spec.services[0]?.image).toBe("busybox:1");
});

test("a Failed project takes another spec in place: it stays Failed, on its node, and keeps its conditions", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  await report(sandbox, "shop", "Failed", "ReconcileError", "no such image");
  const change = projectDocument("shop", { services: [{ name: "web", image: "busybox:2" }] });
  expect((await cara(sandbox, "PUT /api/v1/projects/shop", change)).status).toBe(200);
  await twoPasses(sandbox);
  const { spec, status } = sandbox.project("shop");
  expect(spec.services[0]?.image).toBe("busybox:2");
  expect(status).toMatchObject({ phase: "Failed", nodeRef: "n1" });
  expect(status.conditions).toContainEqual(expect.objectContaining({ message: "no such image" }));
});

test("a Pending project takes another spec and stays Pending", async () => {
  await using sandbox = await caraSandbox();
  await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"));
  const change = projectDocument("shop", { services: [{ name: "web", image: "busybox:2" }] });
  const { status, body } = await cara(sandbox, "PUT /api/v1/projects/shop", change);
  expect(status).toBe(200);
  expect(body).toMatchObject({ spec: { services: [{ image: "busybox:2" }] }, status: { phase: "Pending" } });
});

test("labels may change at any time", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  const labelled = { ...projectDocument("shop"), metadata: { name: "shop", labels: { tier: "gold" } } };
  expect((await cara(sandbox, "PUT /api/v1/projects/shop", labelled)).status).toBe(200);
  expect(sandbox.project("shop")).toMatchObject({
    metadata: { labels: { tier: "gold" } },
    status: { phase: "Running", nodeRef: "n1" },
  });
});

test("with force a spec is changed in place while Running", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  const change = projectDocument("shop", { services: [{ name: "web", image: "busybox:2" }] });
  expect((await cara(sandbox, "PUT /api/v1/projects/shop?force=true", change)).status).toBe(200);
  expect(sandbox.project("shop")).toMatchObject({
    spec: { services: [{ image: "busybox:2" }] },
    status: { phase: "Running", nodeRef: "n1" },
  });
});

test("a project that is not there is 404 for GET, PUT and DELETE", async () => {
  await using sandbox = await caraSandbox();
  expect((await cara(sandbox, "GET /api/v1/projects/shop")).status).toBe(404);
  expect((await cara(sandbox, "PUT /api/v1/projects/shop", projectDocument("shop"))).status).toBe(404);
  expect((await cara(sandbox, "DELETE /api/v1/projects/shop")).status).toBe(404);
  const misnamed = await cara(sandbox, "PUT /api/v1/projects/shop", projectDocument("other"));
  expect([misnamed.status, misnamed.body["detail"]]).toEqual([
    400,
    'metadata.name: must be "shop", as in the address',
  ]);
});

test.each(["Pending", "Failed"])("DELETE of a %s project removes the record at once", async (phase) => {
  await using sandbox = await caraSandbox();
  if (phase === "Failed") {
    await runningProject(sandbox, "shop");
    await report(sandbox, "shop", "Failed", "ReconcileError");
  } else await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"));
  expect((await cara(sandbox, "DELETE /api/v1/projects/shop")).status).toBe(204);
  expect((await cara(sandbox, "GET /api/v1/projects/shop")).status).toBe(404);
});

test.each(["Scheduled", "Running"])(
  "DELETE of a %s project makes it Terminating, on its node",
  async (phase) => {
    await using sandbox = await caraSandbox();
    await readyNode(sandbox, "n1");
    await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"));
    await reaches(sandbox, "shop", "Scheduled");
    if (phase === "Running") await report(sandbox, "shop", "Running");
    const { status, body } = await cara(sandbox, "DELETE /api/v1/projects/shop");
    expect([status, body["status"]]).toEqual([
      202,
      expect.objectContaining({ phase: "Terminating", nodeRef: "n1" }),
    ]);
    expect((await cara(sandbox, "DELETE /api/v1/projects/shop")).status).toBe(202);
    expect(sandbox.project("shop").status.phase).toBe("Terminating");
  },
);

test("DELETE with force removes the record of a Running project at once", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  expect((await cara(sandbox, "DELETE /api/v1/projects/shop?force=true")).status).toBe(204);
  expect(sandbox.projects()).toEqual([]);
});

test("a Terminated project is visible for a while, and is then removed", async () => {
  await using sandbox = await caraSandbox({ timings: { terminatedLife: 60 } });
  await runningProject(sandbox, "shop");
  await cara(sandbox, "DELETE /api/v1/projects/shop");
  await report(sandbox, "shop", "Terminated", "ResourcesRemoved");
  expect(sandbox.project("shop").status.phase).toBe("Terminated");
  await isGone(sandbox, "shop");
});

test("a project whose removal failed is Failed, and the next DELETE removes its record", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  await cara(sandbox, "DELETE /api/v1/projects/shop");
  await report(sandbox, "shop", "Failed", "RemoveError", "device busy");
  expect(sandbox.project("shop").status.phase).toBe("Failed");
  expect((await cara(sandbox, "DELETE /api/v1/projects/shop")).status).toBe(204);
});

test("a project that is Terminating for too long is forced to Terminated, whatever its node does", async () => {
  await using sandbox = await caraSandbox({ timings: { terminatingLimit: 50 } });
  await runningProject(sandbox, "shop");
  await cara(sandbox, "DELETE /api/v1/projects/shop");
  await beat(sandbox, "n1");
  const { status } = await reaches(sandbox, "shop", "Terminated");
  expect(status.conditions).toContainEqual(expect.objectContaining({ reason: "TerminatingTimeout" }));
});

test("an expired project is deleted as an operator would", async () => {
  await using sandbox = await caraSandbox();
  const soon = { expireAt: new Date(Date.now() + 120).toISOString() };
  await cara(sandbox, "POST /api/v1/projects", projectDocument("waiting", soon));
  expect(sandbox.project("waiting").status.phase).toBe("Pending");
  await isGone(sandbox, "waiting");
  await readyNode(sandbox, "n1");
  const later = { expireAt: new Date(Date.now() + 120).toISOString() };
  await cara(sandbox, "POST /api/v1/projects", projectDocument("shop", later));
  await reaches(sandbox, "shop", "Scheduled");
  await reaches(sandbox, "shop", "Terminating");
});
