// Four words for everything that keeps a session from coming up, each with what to do.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { AgentError } from "../../../src/lib/agent-error.ts";
import type { ErrorCode } from "../../../src/lib/error-codes.ts";
import { milliseconds, seconds } from "../../../src/lib/duration.ts";
import { trustedAuthorities } from "../../../src/control/trust.ts";
import { endpointCheck } from "../../../src/realtime/check.ts";
import { type FailureEvidence, type FailureClass, classify } from "../../../src/realtime/failure.ts";
import { certificateFor, noOpenssl } from "../../support/certificates.ts";
import { scratchDirectory } from "../identity/scratch.ts";
import { serveBytes } from "../control/servers.ts";
import { until } from "../../support/until.ts";
import { pauseOf, plane, start } from "./harness.ts";

setDefaultTimeout(150_000);

const error = (code: ErrorCode, status?: number): AgentError =>
  new AgentError(code, "it happened", { status, hint: "do this" });
const evidence = (own: Partial<FailureEvidence>): FailureEvidence => ({
  stage: "transport",
  reason: "websocket error",
  check: undefined,
  ...own,
});

describe("the class", () => {
  test.each<[string, Partial<FailureEvidence>, FailureClass]>([
    ["an address that is none", { error: error("realtime.url") }, "invalid URL input"],
    ["a name without an address", { check: error("net.unresolved") }, "invalid URL input"],
    ["a page of something else", { check: error("http.answer") }, "invalid URL input"],
    ["nothing at the path", { check: error("http.status", 404) }, "invalid URL input"],
    ["a redirect", { check: error("http.status", 301) }, "invalid URL input"],
    ["an unknown authority", { check: error("tls.untrusted") }, "tls/proxy handshake failure"],
    ["a certificate of another name", { check: error("tls.name") }, "tls/proxy handshake failure"],
    ["a closed port", { check: error("net.refused") }, "tls/proxy handshake failure"],
    ["no answer", { check: error("net.timeout") }, "tls/proxy handshake failure"],
    ["a proxy that wants a password", { check: error("http.status", 407) }, "tls/proxy handshake failure"],
    ["a gateway without a server", { check: error("http.status", 502) }, "tls/proxy handshake failure"],
    ["an unusable proxy", { error: error("realtime.proxy") }, "tls/proxy handshake failure"],
    ["no websocket where HTTP works", {}, "tls/proxy handshake failure"],
    ["a namespace that is not there", { stage: "namespace" }, "namespace connect failure"],
    ["a refused identity", { stage: "auth", lasting: true }, "auth error"],
    ["a database that is down", { stage: "auth" }, "auth error"],
  ])("of %s", (_, own, expected) => {
    expect(classify(evidence(own)).class).toBe(expected);
  });

  test("comes with what the error advises", () => {
    expect(classify(evidence({ check: error("tls.untrusted") }))).toEqual({
      class: "tls/proxy handshake failure",
      text: "it happened",
      next: "do this",
    });
  });

  test("tells of a proxy in the way where HTTP works and a websocket does not", () => {
    expect(classify(evidence({})).next).toContain("proxy");
  });
});

describe.concurrent("the check", () => {
  const check = (url: string, path = "/socket.io/", authorities = trustedAuthorities()) =>
    endpointCheck(
      { apiUrl: url, path, namespace: "/x", authorities: () => authorities },
      milliseconds(1_000),
    )(new AbortController().signal);

  test("is content with a handshake, and leaves no engine session behind", async () => {
    await using server = plane();
    expect(await check(server.url)).toBeUndefined();
    const clients = (server.engine as unknown as { clients: Map<string, unknown> }).clients;
    await until("closed", () => clients.size === 0);
    expect(server.requests.map((line) => line.replace(/sid=.*/, "sid=…"))).toEqual([
      "GET /socket.io/?EIO=4&transport=polling",
      "POST /socket.io/?EIO=4&transport=polling&sid=…",
    ]);
  });

  test("is content with an endpoint that has no polling", async () => {
    const body = { code: 0, message: "Transport unknown" };
    await using server = plane({ onRequest: () => Response.json(body, { status: 400 }) });
    expect(await check(server.url)).toBeUndefined();
  });

  test("tells of a wrong path, of a page, of a redirect", async () => {
    await using server = plane();
    expect(await check(server.url, "/elsewhere/")).toMatchObject({ code: "http.status", status: 404 });
    await using page = plane({ onRequest: () => new Response("<html>" + "x".repeat(1e6)) });
    expect(await check(page.url)).toMatchObject({ code: "http.answer" });
    await using moved = plane({ onRequest: () => Response.redirect("https://elsewhere.example/", 302) });
    expect(await check(moved.url)).toMatchObject({ code: "http.status", status: 302 });
  });

  test("hands on how long the server wants to be left alone", async () => {
    await using server = plane({
      onRequest: () => new Response("", { status: 429, headers: { "retry-after": "17" } }),
    });
    expect(await check(server.url)).toMatchObject({ status: 429, retryAfter: seconds(17) });
  });

  test("tells of a closed port, and of a server that does not answer", async () => {
    expect(await check("http://127.0.0.1:1")).toMatchObject({ code: "net.refused" });
    await using silent = await serveBytes(() => {});
    expect(await check(silent.url)).toMatchObject({ code: "net.timeout" });
  });

  test.skipIf(noOpenssl)(
    "tells of an unknown authority, and by whom the certificate is (needs openssl)",
    async () => {
      using directory = scratchDirectory();
      const { ca, cert, key } = certificateFor(directory.path, "IP:127.0.0.1", "Test authority");
      await using server = plane({ tls: { cert: Bun.file(cert), key: Bun.file(key) } });
      const found = await check(server.url);
      expect(found).toMatchObject({ code: "tls.untrusted" });
      expect(found?.hint.join()).toContain("Test authority");
      expect(await check(server.url, "/socket.io/", await Bun.file(ca).text())).toBeUndefined();
    },
  );
});

describe.concurrent("a session that does not come up", () => {
  test("says why once, not at every try, and in its state what to do", async () => {
    await using agent = start("http://127.0.0.1:1");
    await until("tried often", () => (agent.registry.all()[0]?.consecutiveFailures ?? 0) >= 4);
    const warnings = agent.log.lines.filter(({ level }) => level !== "debug").map(({ text }) => text);
    expect(warnings).toEqual([
      expect.stringContaining("tls/proxy handshake failure: cannot reach") as string,
    ]);
    expect(agent.session.state()).toMatchObject({ failure: "tls/proxy handshake failure" });
    expect(agent.session.state().note).toContain("Is the control plane running");
  });

  test("says so again when the reason is another", async () => {
    let status = 404;
    await using server = plane({ onRequest: () => new Response("", { status }) });
    await using agent = start(server.url);
    await until("the first", () => agent.session.state().failure === "invalid URL input");
    status = 502;
    await until("the second", () => agent.session.state().failure === "tls/proxy handshake failure");
    expect(agent.log.lines.filter(({ level }) => level === "warn")).toHaveLength(2);
  });

  test("waits as long as the server asks", async () => {
    await using server = plane({
      onRequest: () => new Response("", { status: 503, headers: { "retry-after": "30" } }),
    });
    await using agent = start(server.url);
    await agent.becomes("waiting");
    expect(pauseOf(agent)).toBeGreaterThanOrEqual(seconds(30));
  });

  test("for want of the namespace says so", async () => {
    await using server = plane({ namespace: "/other" });
    await using agent = start(server.url);
    await until("known", () => agent.session.state().failure === "namespace connect failure");
    expect(agent.session.state().note).toContain("realtime_namespace");
  });

  test("for want of an answer to agent.auth says so", async () => {
    await using server = plane({ onAuth() {} });
    await using agent = start(server.url, { requestTimeout: milliseconds(300) });
    await until("known", () => agent.session.state().failure === "auth error");
    expect(agent.session.state().note).toContain("no answer to agent.auth within 300ms");
  });

  test("does not wait for the check", async () => {
    await using server = plane({
      onRequest: (request) =>
        request.url.includes("polling")
          ? (new Promise(() => {}) as never) // no answer
          : undefined,
    });
    await using agent = start(server.url, { requestTimeout: seconds(25) });
    await agent.becomes("online");
  });
});
