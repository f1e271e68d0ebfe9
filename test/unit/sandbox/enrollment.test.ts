// Every way an enrollment can end, and the one-click installs.
import { expect, test } from "bun:test";
import type { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { urlSafeToken } from "../../../src/sandbox/token.ts";
import { caller, enrolled, sandboxWith } from "./harness.ts";

const machine = { email: "ops@example.com", hostname: "web-01" };
const initiate = async (sandbox: Sandbox, body: unknown = machine): Promise<string> =>
  String((await caller(sandbox).post("/enrollments/initiate", body)).body["token"]);
const poll = async (sandbox: Sandbox, token: string) =>
  (await caller(sandbox).get(`/enrollments/${token}`)).body;

test("a request is answered with a token of 43 characters that lives 15 minutes", async () => {
  await using sandbox = await sandboxWith();
  const { status, body } = await caller(sandbox).post("/enrollments/initiate", {
    ...machine,
    additionalInfo: { location: { any: "thing" } },
  });
  expect(status).toBe(201);
  expect(body["token"]).toMatch(/^[\w-]{43}$/);
  expect(Date.parse(String(body["expiresAt"])) - Date.now()).toBeWithin(14 * 60_000, 15 * 60_000 + 1);
  expect(await poll(sandbox, String(body["token"]))).toEqual({ status: "pending" });
});

test("no token begins with a dash: operators paste them into command lines", () => {
  const tokens = Array.from({ length: 2_000 }, urlSafeToken);
  expect(tokens.filter((token) => token.startsWith("-"))).toEqual([]);
});

test("an approved enrollment hands out its credentials as often as it is asked", async () => {
  await using sandbox = await sandboxWith();
  const token = await initiate(sandbox, { ...machine, email: " OPS@example.com", hostname: "Web-01" });
  const node = sandbox.approve({ token, email: "ops@example.com", name: "front" });
  expect(node).toMatchObject({ name: "front", hostname: "web-01", status: "offline" });
  const first = await poll(sandbox, token);
  expect(first).toEqual({
    status: "approved",
    nodeId: node.id,
    agentToken: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  expect(await poll(sandbox, token)).toEqual(first);
});

test("a newer request of the same machine revokes the earlier one", async () => {
  await using sandbox = await sandboxWith();
  const [old, fresh] = [await initiate(sandbox), await initiate(sandbox)];
  expect(await poll(sandbox, old)).toEqual({ status: "revoked" });
  expect(await poll(sandbox, fresh)).toEqual({ status: "pending" });
});

test("an expired request reads as revoked, and cannot be approved", async () => {
  await using sandbox = await sandboxWith({ timings: { enrollmentLife: 0 } });
  const token = await initiate(sandbox);
  expect(await poll(sandbox, token)).toEqual({ status: "revoked" });
  expect(() => sandbox.approve({ token })).toThrow(expect.objectContaining({ status: 410 }));
});

test("a revoked request reads as revoked; an unknown token is 404", async () => {
  await using sandbox = await sandboxWith();
  const token = await initiate(sandbox);
  sandbox.revokeEnrollment(token);
  expect(await poll(sandbox, token)).toEqual({ status: "revoked" });
  expect(await poll(sandbox, "nobody")).toMatchObject({
    statusCode: 404,
    message: "Enrollment token was not found",
  });
});

test("an approval needs the right e-mail, happens once, and needs a free hostname", async () => {
  await using sandbox = await sandboxWith();
  const token = await initiate(sandbox);
  expect(() => sandbox.approve({ token, email: "other@example.com" })).toThrow(
    expect.objectContaining({ status: 404 }),
  );
  sandbox.approve({ token });
  expect(() => sandbox.approve({ token })).toThrow(expect.objectContaining({ status: 409 }));
  const again = await initiate(sandbox);
  expect(() => sandbox.approve({ token: again })).toThrow("A node with this hostname already exists");
  expect(await poll(sandbox, again)).toEqual({ status: "pending" });
});

const consume = (sandbox: Sandbox, token: string, hostname = "web-02") =>
  caller(sandbox).post("/node-installs/consume", { token, hostname, additionalInfo: { arch: "arm64" } });
const progress = (sandbox: Sandbox, token: string, body: Record<string, unknown>) =>
  caller(sandbox).post("/node-installs/progress", { token, ...body });

test("a bootstrap token makes a node once", async () => {
  await using sandbox = await sandboxWith();
  const { token } = sandbox.createInstall("second");
  const { status, body } = await consume(sandbox, token);
  expect(status).toBe(201);
  expect(sandbox.node("second")).toMatchObject({ id: body["nodeId"], hostname: "web-02", arch: "arm64" });
  expect(sandbox.installs()[0]).toMatchObject({
    status: "installing",
    stage: "bootstrap_token_consumed",
    progress_percent: 92,
  });
  expect(await consume(sandbox, token)).toMatchObject({
    status: 409,
    body: { message: "Bootstrap token has already been used" },
  });
});

test("a bootstrap token survives a hostname that is taken", async () => {
  await using sandbox = await sandboxWith();
  await enrolled(sandbox, "web-02");
  const { token } = sandbox.createInstall("second");
  expect(await consume(sandbox, token)).toMatchObject({
    status: 409,
    body: { message: "A node with this hostname already exists" },
  });
  expect((await consume(sandbox, token, "web-03")).status).toBe(201);
});

test("an unknown bootstrap token is 404, an expired one 410", async () => {
  await using sandbox = await sandboxWith({ timings: { installLife: 0 } });
  expect(await consume(sandbox, "unknown-token")).toMatchObject({
    status: 404,
    body: { message: "Bootstrap token was not found" },
  });
  const { token } = sandbox.createInstall("late");
  for (const answer of [await consume(sandbox, token), await progress(sandbox, token, { stage: "x1" })]) {
    expect(answer).toMatchObject({
      status: 410,
      body: { message: "Bootstrap token has expired", error: "Gone" },
    });
  }
  expect(sandbox.installs()[0]?.status).toBe("expired");
});

test("progress may go backwards, and ends with completed: another status is then ignored", async () => {
  await using sandbox = await sandboxWith();
  const { token } = sandbox.createInstall("second");
  await progress(sandbox, token, { stage: "binary_downloaded", progressPercent: 74 });
  const back = await progress(sandbox, token, {
    stage: "dependencies_ready",
    progressPercent: 30,
    statusMessage: "",
  });
  expect(back).toMatchObject({ status: 201, body: { progressPercent: 30, status: "installing" } });
  expect(back.body["statusMessage"]).not.toBe("");
  expect(back.body).not.toHaveProperty("token");
  await progress(sandbox, token, { stage: "service_started", status: "completed", progressPercent: 100 });
  const late = await progress(sandbox, token, { stage: "failed", status: "failed" });
  expect(late).toMatchObject({ status: 201, body: { status: "completed", stage: "service_started" } });
});
