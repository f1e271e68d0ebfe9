// From nobody to a node: by approval, by a bootstrap token, by what a Go agent has left, and through every refusal.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { AgentError } from "../../src/lib/agent-error.ts";
import { createHttp } from "../../src/control/http.ts";
import { publicApi } from "../../src/control/noderax-api.ts";
import { awaitApproval, consumeBootstrapToken, initiate } from "../../src/identity/enrollment.ts";
import {
  type PendingEnrollment,
  readIdentity,
  readPending,
  writeIdentity,
  writePending,
} from "../../src/identity/identity-file.ts";
import { readInstall, reportEnrolled, writeInstall } from "../../src/identity/install-record.ts";
import { readHost } from "../../src/platform/host.ts";
import { type AgentNode, NODE, TEST_LIMIT, enrolledAgent } from "../support/agent.ts";
import { elapse, until } from "../support/until.ts";
import { refusal } from "../support/sandbox.ts";

setDefaultTimeout(TEST_LIMIT);

const host = { ...readHost(), hostname: NODE };
const never = new AbortController().signal;
/** Of an install token, in ms: long enough for a few calls on a busy machine. */
const INSTALL_LIFE = 5_000;
const patient = { onWait() {}, superseded: () => false };

/** A machine that nobody knows yet, with the agent not started. */
const stranger = (options = {}): Promise<AgentNode> =>
  enrolledAgent({ enrolled: false, started: false, watched: true, ...options });

const apiOf = (node: AgentNode) =>
  publicApi(createHttp({ baseUrl: node.gateway.url, authorities: () => "" }), 5_000);

const begin = (node: AgentNode): Promise<PendingEnrollment> =>
  initiate(apiOf(node), { apiUrl: node.gateway.url, email: "ops@example.com", hostname: NODE, host }, never);

async function failureOf(work: Promise<unknown>): Promise<AgentError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof AgentError) return error;
  throw new Error(`no AgentError: ${String(error)}`);
}

describe.concurrent("an enrollment", () => {
  test("is approved, and its identity is good for work", async () => {
    await using node = await stranger();
    const pending = await begin(node);
    const approval = awaitApproval(apiOf(node), pending, patient, never);
    await until("it is asked for", () => node.gateway.count(pending.token) > 0);
    node.sandbox.approve({ token: pending.token, email: "ops@example.com", name: NODE });
    node.hasIdentity({});
    writeIdentity(node.stateFile, await approval, new Date());
    await node.starts();
    await node.runs("true").finishes("success");
    expect(node.sandbox.node(NODE)).toMatchObject({ hostname: NODE, os: host.os, arch: host.arch });
  });

  test("that was revoked, has expired or is unknown is reported so", async () => {
    await using node = await stranger();
    const first = await begin(node);
    node.sandbox.revokeEnrollment(first.token);
    expect(await failureOf(awaitApproval(apiOf(node), first, patient, never))).toMatchObject({
      code: "enroll.revoked",
      exit: 5,
    });
    await using hasty = await stranger({ sandbox: { timings: { enrollmentLife: 100 } } });
    const second = await begin(hasty);
    await elapse(150);
    expect(await failureOf(awaitApproval(apiOf(hasty), second, patient, never))).toMatchObject({
      code: "enroll.expired",
    });
    const unknown = { ...second, token: "never-heard-of-it" };
    expect(await failureOf(awaitApproval(apiOf(node), unknown, patient, never))).toMatchObject({
      code: "enroll.unknown_token",
    });
  });

  test("gives way to a newer one of the same machine", async () => {
    await using node = await stranger();
    const first = await begin(node);
    const second = await begin(node);
    const hooks = { ...patient, superseded: () => true };
    expect(await failureOf(awaitApproval(apiOf(node), first, hooks, never))).toMatchObject({
      code: "enroll.superseded",
    });
    node.sandbox.approve({ token: second.token });
    expect(await awaitApproval(apiOf(node), second, patient, never)).toMatchObject({
      nodeId: expect.any(String),
    });
  });

  test("survives a server that goes away, throttles and stumbles", async () => {
    await using node = await stranger();
    const pending = await begin(node);
    let asked = 0;
    node.gateway.interfere((route, forward) => {
      if (route !== pending.token || ++asked > 3) return forward();
      if (asked === 1) return Promise.reject(new Error("away"));
      if (asked === 2)
        return new Response(
          JSON.stringify({ statusCode: 429, message: "ThrottlerException: Too Many Requests" }),
          {
            status: 429,
            headers: { "retry-after": "4" },
          },
        );
      return refusal(500, "Internal server error");
    });
    node.sandbox.approve({ token: pending.token });
    const problems: (string | undefined)[] = [];
    const identity = await awaitApproval(
      apiOf(node),
      pending,
      { ...patient, onWait: ({ problem }) => void problems.push(problem) },
      never,
    );
    expect(identity.agentToken).toMatch(/^[0-9a-f]{64}$/);
    expect(problems.length).toBeGreaterThanOrEqual(2);
    const times = node.gateway.seen.filter(({ route }) => route === pending.token).map(({ at }) => at);
    expect((times[2] ?? 0) - (times[1] ?? 0)).toBeGreaterThan(3_900);
  });

  test("interrupted stays open", async () => {
    await using node = await stranger();
    const pending = await begin(node);
    const interrupt = new AbortController();
    const waiting = failureOf(awaitApproval(apiOf(node), pending, patient, interrupt.signal));
    await until("it is asked for", () => node.gateway.count(pending.token) > 0);
    interrupt.abort();
    expect(await waiting).toMatchObject({ code: "aborted", exit: 130 });
    node.sandbox.approve({ token: pending.token });
    await awaitApproval(apiOf(node), pending, patient, never);
  });
});

describe.concurrent("a bootstrap token", () => {
  const consume = (node: AgentNode, token: string, hostname = NODE) =>
    consumeBootstrapToken(apiOf(node), token, hostname, host, never);

  test("makes a node, once", async () => {
    await using node = await stranger();
    const { token } = node.sandbox.createInstall(NODE);
    const identity = await consume(node, token);
    expect(node.sandbox.node(identity.nodeId)).toMatchObject({ name: NODE, arch: host.arch });
    expect(await failureOf(consume(node, token, "other"))).toMatchObject({ code: "enroll.used_token" });
    expect(node.sandbox.installs()).toMatchObject([{ status: "installing", progress_percent: 92 }]);
  });

  const install = (node: AgentNode) => node.sandbox.installs()[0];

  test("leaves an install record that says what is true: enrolled, and completed once the agent is heard of", async () => {
    await using node = await stranger();
    const { token } = node.sandbox.createInstall(NODE);
    const identity = await consume(node, token);
    writeIdentity(node.stateFile, identity, new Date());
    writeInstall(node.stateFile, { api_url: node.gateway.url, token });
    await reportEnrolled(apiOf(node), token, never);
    expect(install(node)).toMatchObject({
      status: "installing",
      stage: "agent_enrolled",
      progress_percent: 95,
    });
    // Not before the control plane has heard of the agent itself, and not for an answer that is not the API's.
    let refused = 0;
    node.gateway.interfere((route, forward) => {
      if (route === "heartbeat" && refused++ < 2) return refusal(500, "Internal server error");
      return route === "progress" && node.gateway.count("progress") < 3 ? new Response("<html>") : forward();
    });
    await node.starts();
    await until("the record is completed", () => install(node)?.status === "completed", 25_000);
    expect(install(node)).toMatchObject({ stage: "service_started", progress_percent: 100 });
    await until("nothing is left to report", () => readInstall(node.stateFile) === undefined);
  });

  test("whose install record is unknown by now is not reported on for ever", async () => {
    await using node = await stranger();
    const { token } = node.sandbox.createInstall(NODE);
    writeIdentity(node.stateFile, await consume(node, token), new Date());
    writeInstall(node.stateFile, { api_url: node.gateway.url, token: "no-such-token" });
    await node.starts();
    await until("it is given up", () => readInstall(node.stateFile) === undefined);
    expect(node.gateway.count("progress")).toBe(1);
  });

  test("is refused when unknown, expired, or for a hostname that is taken; then it stays usable", async () => {
    await using node = await stranger({ sandbox: { timings: { installLife: INSTALL_LIFE } } });
    expect(await failureOf(consume(node, "no-such-token"))).toMatchObject({ code: "enroll.unknown_token" });
    await consume(node, node.sandbox.createInstall("first").token);
    const { token } = node.sandbox.createInstall("second");
    expect(await failureOf(consume(node, token))).toMatchObject({ code: "enroll.hostname_exists" });
    await consume(node, token, "another-name");
    const { token: late } = node.sandbox.createInstall("late");
    await elapse(INSTALL_LIFE + 100);
    expect(await failureOf(consume(node, late, "third"))).toMatchObject({ code: "enroll.expired" });
  });

  test("is not sent twice when its answer is lost, and the loss is explained", async () => {
    await using node = await stranger({ sandbox: { faults: { lostAnswers: 1, routes: ["consume"] } } });
    const { token } = node.sandbox.createInstall(NODE);
    const error = await failureOf(consume(node, token));
    expect(error.message).toContain("the token may have been used up");
    expect(node.gateway.count("consume")).toBe(1);
  });
});

describe.concurrent("an agent without an identity", () => {
  test("waits, says so, and comes online when `enroll` writes one", async () => {
    await using node = await stranger();
    await node.starts();
    const { noderax, loops } = node.agent.status();
    expect(noderax).toMatchObject({ standing: "not_enrolled", node_id: null });
    expect(loops.find(({ name }) => name === "enrollment")?.note).toContain("run `noderax-agent enroll`");
    await node.enrolls();
    await node.isOnline();
  });

  test("goes on with an enrollment that was interrupted, and keeps nothing of it afterwards", async () => {
    await using node = await stranger();
    const pending = await begin(node);
    writePending(node.stateFile, pending);
    await node.starts();
    await until("it is asked for", () => node.gateway.count(pending.token) > 0);
    node.sandbox.approve({ token: pending.token, name: NODE });
    await node.isOnline();
    expect(readPending(node.stateFile)).toBeUndefined();
    expect(node.log.join("")).not.toContain(pending.token);
  });

  test.each([
    [
      "revoked",
      (node: AgentNode, token: string) => void node.sandbox.revokeEnrollment(token),
      "the enrollment was revoked",
    ],
    [
      "unknown",
      (node: AgentNode) => node.gateway.interfere(() => refusal(404, "Enrollment token was not found")),
      "does not know this enrollment",
    ],
  ])(
    "gives up one that is %s without asking on, says why, and still takes an identity",
    async (_, decide, why) => {
      await using node = await stranger();
      const pending = await begin(node);
      writePending(node.stateFile, pending);
      decide(node, pending.token);
      await node.starts();
      await node.statusBecomes("it says why", ({ loops }) => loops.some(({ note }) => note.includes(why)));
      const asked = node.gateway.count(pending.token);
      await elapse(5_000);
      expect(node.gateway.count(pending.token)).toBe(asked);
      expect(node.log.filter((line) => line.includes(why))).toHaveLength(1);
      node.gateway.interfere(undefined);
      await node.enrolls();
      await node.isOnline();
    },
  );

  test("takes an identity that comes from elsewhere while it waits for an approval", async () => {
    await using node = await stranger();
    writePending(node.stateFile, { ...(await begin(node)), hostname: "other" });
    await node.starts();
    await node.statusBecomes("it waits", ({ loops }) =>
      loops.some(({ note }) => note === "waiting for approval"),
    );
    await node.enrolls();
    await node.isOnline();
  });

  test("whose identity file is damaged says so, and goes on when it is mended", async () => {
    await using node = await stranger();
    node.hasIdentity({});
    await Bun.write(node.stateFile, '{"node_id": "half');
    await node.starts();
    await node.statusBecomes("it says so", ({ loops }) =>
      loops.some(({ note }) => note.includes("cannot be used")),
    );
    await node.enrolls();
    await node.isOnline();
  });
});

describe.concurrent("what a Go agent has left", () => {
  test("its identity file is used as it is, and made private", async () => {
    await using node = await stranger();
    await node.enrolls();
    const document = {
      ...(JSON.parse(await Bun.file(node.stateFile).text()) as object),
      registered_at: "2025-01-01T00:00:00Z",
      extra: 1,
    };
    node.hasIdentity(document);
    await Bun.$`chmod 644 ${node.stateFile}`.quiet();
    await node.starts();
    await node.runs("true").finishes("success");
    expect(JSON.parse(await Bun.file(node.stateFile).text())).toEqual(document);
    expect((await Bun.file(node.stateFile).stat()).mode & 0o777).toBe(0o600);
  });

  test("an enrollment token in its configuration is waited for", async () => {
    await using node = await stranger();
    const { token } = await begin(node);
    node.configures({ api_url: node.gateway.url, state_file: node.stateFile, enrollment_token: token });
    await node.starts();
    await until("it is asked for", () => node.gateway.count(token) > 0);
    node.sandbox.approve({ token, name: NODE });
    await node.isOnline();
    expect(readIdentity(node.stateFile)).toMatchObject({ nodeId: node.sandbox.node(NODE).id });
  });

  test("an identity in its configuration wins, and an empty identity file counts as none", async () => {
    await using node = await stranger();
    await node.enrolls();
    const { node_id: id, agent_token: token } = JSON.parse(await Bun.file(node.stateFile).text()) as Record<
      string,
      string
    >;
    node.hasIdentity({ node_id: "", agent_token: "", registered_at: "" });
    node.configures({
      api_url: `${node.gateway.url}/api/v1/`,
      state_file: node.stateFile,
      node_id: id,
      agent_token: token,
    });
    await node.starts();
    await node.isOnline();
  });
});
