// The agent's HTTP server over real sockets: routes, access, listening, certificates, and whatever bytes come.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { steadyNow } from "../../src/lib/clock.ts";
import * as fc from "fast-check";
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import { LoopRegistry } from "../../src/lib/loop.ts";
import { startListener } from "../../src/listener/listener.ts";
import { createLog } from "../../src/platform/log.ts";
import { certificateFor, noOpenssl } from "../support/certificates.ts";
import {
  MadeUpContainers,
  echoTunnels,
  listenerSettings,
  problemOf,
  rawRequest,
  startTestListener,
} from "../support/listener.ts";
import { changes, until } from "../support/until.ts";

setDefaultTimeout(150_000);

/** Besides those of the loopback, as a URL has them. */
const ownAddresses = (): string[] =>
  Object.values(networkInterfaces())
    .flatMap((entries) => entries ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith("fe80:"))
    .map(({ family, address }) => (family === "IPv6" ? `[${address}]` : address));

const TOKEN = "correct-horse-battery";
const LOGS = "/api/v1/logs/shop/web";
const FORWARD = "/api/v1/forward/shop/web/80";

describe("routes", () => {
  test("healthz says OK to everyone, and to HEAD without a body", async () => {
    await using place = await startTestListener();
    const answer = await place.get("/healthz", { "x-forwarded-for": "1.2.3.4", origin: "http://evil.com" });
    expect([answer.status, await answer.text()]).toEqual([200, "OK"]);
    const head = await fetch(`http://127.0.0.1:${place.port}/healthz`, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
  });

  test("readyz tells each loop, and is 503 while one fails for good", async () => {
    await using place = await startTestListener();
    const record = place.registry.add("docker");
    record.lastStart = record.lastSuccess = steadyNow();
    const good = await place.get("/readyz");
    expect(good.status).toBe(200);
    const loop = { ok: true, stale: false, age_seconds: expect.any(Number) };
    expect(await good.json()).toEqual({
      ready: true,
      loops: [
        { name: "listener", ...loop },
        { name: "listener-upkeep", ...loop },
        { name: "docker", ...loop },
      ],
    });
    record.lastSuccess = steadyNow() - seconds(40);
    record.consecutiveFailures = 5;
    record.lastError = { at: steadyNow(), message: "secret words" };
    const bad = await place.get("/readyz");
    expect(bad.status).toBe(503);
    expect(await bad.text()).not.toContain("secret");
  });

  test("readyz tells why not to those alone who may read logs, and a probe is no try to get in", async () => {
    await using place = await startTestListener({ listen_token: TOKEN }, { isTrustedUser: () => false });
    const keys = async (headers: Record<string, string> = {}): Promise<string[]> =>
      Object.keys((await (await place.get("/readyz", headers)).json()) as object);
    for (let n = 0; n < 20; n++) expect(await keys()).toEqual(["ready"]);
    expect(place.listener.status().refused).toBe(0);
    expect(await keys({ authorization: `Bearer ${TOKEN}` })).toEqual(["ready", "loops"]);
    for (let n = 0; n < 10; n++) expect(await keys({ authorization: "Bearer guessed" })).toEqual(["ready"]);
    // Guessing is useless: after ten tries the right token is not checked, either.
    expect(await keys({ authorization: `Bearer ${TOKEN}` })).toEqual(["ready"]);
    expect(place.listener.status().refused).toBe(11);
  });

  test.each([
    "/healthz/../api/v1/logs/shop/web",
    "/healthz/%2e%2e/api/v1/logs/shop/web",
    "/./api/v1/logs/shop/web",
    "/api/v1/logs/shop/x/../web",
    "/healthz/..\\api/v1/logs/shop/web",
    "/api/v1/forward/shop/x/../web/80",
    "/x/../readyz",
    "/x/../healthz",
  ])("%s is refused, whatever it means: what stands before us may have read it otherwise", async (path) => {
    await using place = await startTestListener();
    const answer = await rawRequest(
      place.port,
      `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
      seconds(10),
    );
    expect(answer).toStartWith("HTTP/1.1 400 Bad Request\r\n");
    expect(answer).toContain("dot segments");
    expect(place.containers.asked).toEqual([]);
  });

  test("what is not there, not taken, or has a body is a problem document", async () => {
    await using place = await startTestListener();
    const url = `http://127.0.0.1:${place.port}`;
    expect((await problemOf(await place.get("/"))).status).toBe(404);
    expect((await problemOf(await place.get("/api/v1/logs/shop/%2e%2e%2fx"))).status).toBe(400);
    const posted = await fetch(`${url}${LOGS}`, { method: "DELETE" });
    expect(posted.headers.get("allow")).toBe("GET");
    expect((await problemOf(posted)).status).toBe(405);
    const answer = await rawRequest(
      place.port,
      `GET ${LOGS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello`,
      milliseconds(500),
    );
    expect(answer).toStartWith("HTTP/1.1 413");
    expect(place.containers.asked).toEqual([]);
  });

  test("a tunnel is opened, with who and what in the log, and never the token", async () => {
    await using place = await startTestListener({ listen_token: TOKEN });
    const offered = ["x", `bearer.${Buffer.from(TOKEN).toString("base64url")}`];
    const socket = new WebSocket(`ws://127.0.0.1:${place.port}${FORWARD}`, offered);
    const answer = await new Promise((resolve, reject) => {
      socket.addEventListener("open", () => socket.send("hello"));
      socket.addEventListener("message", ({ data }) => resolve(data));
      socket.addEventListener("close", reject);
    });
    expect(answer).toBe("hello");
    expect(place.tunnels.opened).toEqual(["shop/web:80"]);
    expect(place.listener.status()).toMatchObject({ tunnels: 1, refused: 0, tls: false });
    const opened = () => place.lines.find((one) => one.includes("tunnel to"));
    await until("a line about it", () => opened() !== undefined);
    expect(JSON.parse(opened() ?? "")).toMatchObject({ level: "info", peer: "127.0.0.1", by: "token" });
    expect(place.lines.join()).not.toContain(TOKEN);
    socket.close();
  });
});

describe("access", () => {
  test("the owner's allow_forward refuses every tunnel, and says so, but no logs", async () => {
    await using place = await startTestListener({ listen_token: TOKEN, allow_forward: false });
    place.containers.targets.set("shop/web", { id: "c1", address: "127.0.0.1" } as never);
    const headers = { authorization: `Bearer ${TOKEN}` };
    const refusal = await problemOf(await place.get(FORWARD, headers));
    expect(refusal).toMatchObject({ status: 403, detail: expect.stringContaining("(allow_forward)") });
    expect(place.tunnels.opened).toEqual([]);
    expect(place.lines.join()).toContain("tunnel to shop/web:80 refused (allow_forward)");
    expect((await place.get(LOGS, headers)).status).not.toBe(403);
  });

  test("a foreign page, a foreign name and a proxied request get neither logs nor tunnels", async () => {
    await using place = await startTestListener();
    for (const path of [LOGS, FORWARD]) {
      // One after the other: the last one is checked below.
      for (const [status, headers] of [
        [403, { origin: "http://evil.example.com" }],
        [403, { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" }],
        [421, { host: "evil.example.com" }],
        [403, { "x-forwarded-for": "127.0.0.1" }],
        [401, { authorization: "Bearer something-wrong" }],
      ] as const)
        expect((await problemOf(await place.get(path, { ...headers }))).status).toBe(status);
    }
    expect(place.containers.asked).toEqual([]);
    expect(place.tunnels.opened).toEqual([]);
    expect(place.listener.status()).toMatchObject({
      refused: 10,
      lastRefusal: { address: "127.0.0.1", why: "token" },
    });
  });

  test("a page of a listed origin may read logs, with its token too, and no other page may", async () => {
    const origin = "https://console.example.com";
    await using place = await startTestListener({ listen_token: TOKEN, listen_origins: [origin] });
    const allowed = (answer: Response): string | null => answer.headers.get("access-control-allow-origin");
    const url = `http://127.0.0.1:${place.port}${LOGS}`;
    const ask = { "access-control-request-method": "GET", "access-control-request-headers": "authorization" };
    const leave = await fetch(url, { method: "OPTIONS", headers: { origin, ...ask } });
    expect([leave.status, allowed(leave)]).toEqual([204, origin]);
    expect(leave.headers.get("access-control-allow-headers")).toBe("authorization");
    const answer = await place.get(LOGS, { origin, authorization: `Bearer ${TOKEN}` });
    expect([await answer.text(), allowed(answer)]).toEqual(["one\ntwo\n", origin]);
    const refused = await place.get(LOGS, { origin, authorization: "Bearer wrong" });
    expect([refused.status, allowed(refused)]).toEqual([401, origin]);
    const evil = { origin: "https://evil.example.com" };
    const none = await fetch(url, { method: "OPTIONS", headers: { ...evil, ...ask } });
    expect([none.status, allowed(none)]).toEqual([405, null]);
    expect(allowed(await place.get(LOGS, evil))).toBeNull();
    // Its own page needs no CORS header, and no other page gets one.
    expect(allowed(await place.get(LOGS, { origin: `http://127.0.0.1:${place.port}` }))).toBeNull();
  });

  test("the refusal of a wrong token names the scheme in a header", async () => {
    await using place = await startTestListener({ listen_token: TOKEN });
    const answer = await place.get(LOGS, { authorization: "Bearer wrong" });
    expect(answer.headers.get("www-authenticate")).toBe("Bearer");
    expect((await problemOf(answer)).status).toBe(401);
    expect((await place.get(LOGS, { authorization: `Bearer ${TOKEN}` })).status).toBe(200);
  });

  test("guessing is slowed down, and who needs no token is not", async () => {
    const settings = { listen_token: TOKEN, listen_local: "everybody" as const };
    await using place = await startTestListener(settings, { isTrustedUser: () => false });
    for (let n = 0; n < 10; n++)
      expect((await place.get(LOGS, { authorization: `Bearer guess-${n}` })).status).toBe(401);
    const slowed = await place.get(LOGS, { authorization: `Bearer ${TOKEN}` });
    expect(slowed.status).toBe(429);
    expect(Number(slowed.headers.get("retry-after"))).toBeWithin(1, 61);
    expect((await place.get(LOGS)).status).toBe(200);
    expect((await place.get("/healthz")).status).toBe(200);
    const warnings = place.lines.filter((line) => line.includes('"warn"') && line.includes("refused"));
    expect(warnings).toHaveLength(1);
    expect(warnings.join()).not.toContain("guess");
  });

  test("one user's guesses do not lock out another who may use Docker", async () => {
    await using place = await startTestListener({ listen_token: TOKEN }, { isTrustedUser: () => true });
    for (let n = 0; n < 20; n++) await place.get(LOGS, { authorization: `Bearer guess-${n}` });
    expect((await place.get(LOGS, { authorization: `Bearer ${TOKEN}` })).status).toBe(200);
  });

  test("users of this machine are distinguished by their sockets, over every address of it", async () => {
    const trusted = new Set<number>();
    await using place = await startTestListener(
      { listen_address: "::" },
      { isTrustedUser: (uid) => trusted.has(uid) },
    );
    const addresses = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", ...ownAddresses()];
    const ask = (address: string): Promise<Response> => fetch(`http://${address}:${place.port}${LOGS}`);
    const own = process.getuid?.() ?? 0;
    for (const address of addresses) {
      const { status, detail } = await problemOf(await ask(address));
      expect([address, status, detail]).toEqual([address, 403, expect.stringContaining(`user ${own} of`)]);
      expect(detail).toContain("listen_local=everybody");
    }
    trusted.add(own);
    for (const address of addresses) expect([address, (await ask(address)).status]).toEqual([address, 200]);
    const tunnel = new WebSocket(`ws://127.0.0.1:${place.port}${FORWARD}`);
    await new Promise((resolve, reject) => {
      tunnel.addEventListener("open", resolve);
      tunnel.addEventListener("close", reject);
    });
    tunnel.close();
  });

  test("listen_local admits every user of this machine, with a token set, too", async () => {
    const settings = { listen_token: TOKEN, listen_local: "everybody" as const };
    await using place = await startTestListener(settings, { isTrustedUser: () => false });
    expect((await place.get(LOGS)).status).toBe(200);
  });

  test("a token that is set is asked of every user of this machine", async () => {
    await using place = await startTestListener({ listen_token: TOKEN }, { isTrustedUser: () => true });
    for (const path of [LOGS, FORWARD]) expect((await problemOf(await place.get(path))).status).toBe(401);
    expect((await place.get(LOGS, { authorization: `Bearer ${TOKEN}` })).status).toBe(200);
    // Who forgot it has not guessed.
    for (let n = 0; n < 20; n++) await place.get(LOGS);
    expect((await place.get(LOGS, { authorization: `Bearer ${TOKEN}` })).status).toBe(200);
  });

  test("over IPv6 and IPv4 at once, this machine is this machine", async () => {
    await using place = await startTestListener({ listen_address: undefined });
    expect((await place.get(LOGS)).status).toBe(200);
    if (place.listener.status().address?.startsWith("[::]") === true)
      expect((await fetch(`http://[::1]:${place.port}${LOGS}`)).status).toBe(200);
  });
});

describe("listening", () => {
  test("a port in use is reported with the setting, once, and bound when it is free", async () => {
    const taker = createServer().listen(0, "127.0.0.1");
    await until("it listens", () => taker.listening);
    const address = taker.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const registry = new LoopRegistry();
    const lines: string[] = [];
    const log = createLog({ level: "info", format: "json", write: (line) => void lines.push(line) });
    const end = new AbortController();
    const listener = startListener(
      {
        containers: new MadeUpContainers(),
        tunnels: echoTunnels(),
        names: [],
        loops: () => [],
        registry,
        log,
      },
      listenerSettings({ listen_port: port }),
      end.signal,
    );
    const record = registry.all().find(({ name }) => name === "listener");
    await until("two tries", () => (record?.consecutiveFailures ?? 0) >= 2);
    expect(listener.port()).toBeUndefined();
    expect(listener.status().trouble).toContain("listen_port");
    expect(lines.filter((line) => line.includes("in use"))).toHaveLength(1);
    taker.close();
    await until("it listens there", () => listener.port() === port, seconds(40));
    expect(listener.status()).toMatchObject({ address: `127.0.0.1:${port}`, trouble: undefined });
    end.abort();
    await listener.done;
  });

  test("a second agent on the port names the first one", async () => {
    await using first = await startTestListener();
    const end = new AbortController();
    const log = createLog({ level: "info", format: "json", write: () => {} });
    const ports = { containers: new MadeUpContainers(), tunnels: echoTunnels(), names: [], loops: () => [] };
    const settings = listenerSettings({ listen_port: first.port });
    const second = startListener({ ...ports, registry: new LoopRegistry(), log }, settings, end.signal);
    await until("it has tried", () => second.status().trouble !== undefined || second.port() !== undefined);
    expect(second.status().trouble).toMatch(
      new RegExp(`^listen_port ${first.port}: port ${first.port} is in use by .+ \\(pid ${process.pid}\\)$`),
    );
    end.abort();
    await second.done;
  });

  test("an address of another machine is reported with its setting", async () => {
    const registry = new LoopRegistry();
    const end = new AbortController();
    const log = createLog({ level: "info", format: "json", write: () => {} });
    const ports = { containers: new MadeUpContainers(), tunnels: echoTunnels(), names: [], loops: () => [] };
    const settings = listenerSettings({ listen_address: "192.0.2.77" });
    const listener = startListener({ ...ports, registry, log }, settings, end.signal);
    await until("trouble", () => listener.status().trouble !== undefined);
    expect(listener.status().trouble).toContain("listen_address 192.0.2.77");
    end.abort();
    await listener.done;
  });
});

describe.skipIf(noOpenssl)("certificates (needs openssl)", () => {
  function pairs() {
    const directory = mkdtempSync(join(tmpdir(), "noderax-listener-"));
    const make = (name: string) => {
      const own = mkdtempSync(join(directory, `${name}-`));
      return certificateFor(own, "IP:127.0.0.1", name);
    };
    const [cert, key] = [join(directory, "cert.pem"), join(directory, "key.pem")];
    const use = (pair: { cert: string; key: string }): void => {
      copyFileSync(pair.cert, cert);
      copyFileSync(pair.key, key);
    };
    const [one, two] = [make("one"), make("two")];
    use(one);
    return {
      cert,
      key,
      use,
      one,
      two,
      [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
    };
  }

  const issuer = (port: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connectTls({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
        resolve(String(socket.getPeerCertificate().issuer.CN));
        socket.end();
      });
      socket.on("error", reject);
    });

  test("a new pair is used for new connections, and open tunnels live on", async () => {
    using files = pairs();
    await using place = await startTestListener(
      { listen_tls_cert: files.cert, listen_tls_key: files.key },
      { upkeepEvery: milliseconds(100) },
    );
    expect(await issuer(place.port)).toBe("one");
    const socket = new WebSocket(`wss://127.0.0.1:${place.port}${FORWARD}`, {
      tls: { rejectUnauthorized: false },
    });
    const heard: unknown[] = [];
    socket.addEventListener("message", ({ data }) => heard.push(data));
    socket.addEventListener("close", () => heard.push("closed"));
    await until("it is open", () => socket.readyState === WebSocket.OPEN);
    files.use(files.two);
    await until("the new one is in use", () => place.lines.some((line) => line.includes('in use"')));
    expect(await issuer(place.port)).toBe("two");
    expect(place.listener.status().address).toBe(`127.0.0.1:${place.port}`);
    socket.send("still here");
    await until("an echo", () => heard.length > 0);
    expect(heard).toEqual(["still here"]);
    expect(await (await place.get(LOGS)).text()).toBe("one\ntwo\n");
    socket.close();
  });

  test("a broken new pair leaves the old one in use, is reported once, and recovers", async () => {
    using files = pairs();
    await using place = await startTestListener(
      { listen_tls_cert: files.cert, listen_tls_key: files.key },
      { upkeepEvery: milliseconds(100) },
    );
    copyFileSync(files.two.cert, files.cert);
    const complaints = () => place.lines.filter((line) => line.includes("stays in use"));
    await until("a complaint", () => complaints().length > 0);
    const upkeep = () => place.registry.all().find(({ name }) => name === "listener-upkeep");
    await changes("the pair is read", () => upkeep()?.lastSuccess, 5);
    expect(complaints()).toHaveLength(1);
    expect(complaints().join()).toContain("listen_tls_key");
    expect(await issuer(place.port)).toBe("one");
    writeFileSync(files.key, "garbage");
    await until("another complaint", () => complaints().length > 1);
    expect(place.lines.join()).not.toContain("PRIVATE");
    copyFileSync(files.two.key, files.key);
    await until("the new one is in use", () => place.lines.some((line) => line.includes('in use"')));
    expect(await issuer(place.port)).toBe("two");
  });
});

test("whatever bytes come, it answers or closes, and goes on", async () => {
  await using place = await startTestListener({ listen_token: TOKEN });
  const piece = fc.oneof(
    fc.constantFrom(
      "GET ",
      "POST ",
      "/healthz",
      LOGS,
      FORWARD,
      "?follow=true&tail=",
      "/api/v1/logs/",
      "%2f",
      "%00",
      "..",
      "//",
      " HTTP/1.1\r\n",
      " HTTP/1.0\r\n",
      "Host: localhost\r\n",
      "Host: [::\r\n",
      "Host: a, b\r\n",
      "Host:\r\n",
      "Origin: null\r\n",
      "Authorization: Bearer x\r\n",
      "Upgrade: websocket\r\nConnection: Upgrade\r\n",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
      "Sec-WebSocket-Protocol: bearer.\r\n",
      "Content-Length: 3\r\n",
      "Transfer-Encoding: chunked\r\n",
      "Connection: close\r\n",
      "\r\n",
      "\r\n\r\n",
      "\0",
    ),
    fc.string({ unit: "binary", maxLength: 12 }),
  );
  const request = fc.oneof(
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
    // Whole ones with odd parts, so that they get further.
    fc
      .tuple(fc.constantFrom("GET", "HEAD", "PUT", "CONNECT"), piece, piece, piece)
      .map(
        ([method, path, host, more]) =>
          `${method} ${LOGS}/${path.replaceAll(/[\s\0]/g, "")} HTTP/1.1\r\nHost: ${host.replaceAll(/[\r\n\0]/g, "")}\r\n${more}\r\n\r\n`,
      ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 20, maxLength: 20 }), async (requests) => {
      const answers = await Promise.all(
        requests.map((text) => rawRequest(place.port, Buffer.from(text, "latin1"), milliseconds(100))),
      );
      for (const answer of answers) {
        expect(answer === "" || answer.startsWith("HTTP/1.1 ")).toBe(true);
        expect(answer).not.toStartWith("HTTP/1.1 500");
      }
    }),
    { numRuns: 25, endOnFailure: true },
  );
  const answer = await place.get("/healthz");
  expect([answer.status, await answer.text()]).toEqual([200, "OK"]);
  expect(place.lines.filter((line) => line.includes('"error"'))).toEqual([]);
});
