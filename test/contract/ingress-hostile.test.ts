// What the ingress refuses, and what it outlives: requests that two readers would understand differently, and floods.
import { afterAll, beforeAll, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import { type TestIngress, ask, client, ingress, routeTo } from "../support/ingress.ts";
import { type Service, service } from "../support/tunnel.ts";
import { elapse, until } from "../support/until.ts";

setDefaultTimeout(150_000);

/** Everything that came through. */
let arrived = "";
let backend: Service;
let proxy: TestIngress;
beforeAll(async () => {
  backend = await service((socket) => {
    socket.on("data", (bytes) => {
      const text = bytes.toString("latin1");
      arrived += text;
      for (const _ of text.matchAll(/\r\n\r\n/g))
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    socket.on("end", () => socket.end());
  });
  proxy = await ingress([routeTo(backend.port)]);
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
});
beforeEach(() => void (arrived = ""));

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

test.each([
  [
    "both framings",
    "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  [
    "the framings the other way",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
  ],
  ["two lengths", "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"],
  ["a list of lengths", "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3, 3\r\n\r\nabc"],
  [
    "the same length twice",
    "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
  ],
  ["a length with a sign", "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: +3\r\n\r\nabc"],
  [
    "a length that overflows",
    "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
  ],
  ["an empty length", "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length:\r\n\r\nabc"],
  [
    "another coding",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
  ],
  [
    "chunked twice",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  [
    "chunked not last",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
  ],
  [
    "chunked in disguise",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
  ],
  [
    "chunked behind a vertical tab",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
  ],
  ["chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["a folded header", "GET / HTTP/1.1\r\nHost: app.test\r\nX-A: a\r\n b\r\n\r\n"],
  ["a space before the colon", "GET / HTTP/1.1\r\nHost: app.test\r\nContent-Length : 3\r\n\r\n"],
  ["a header without a name", "GET / HTTP/1.1\r\nHost: app.test\r\n: a\r\n\r\n"],
  ["a header without a colon", "GET / HTTP/1.1\r\nHost: app.test\r\nX-A\r\n\r\n"],
  ["a space before the first header", "GET / HTTP/1.1\r\n Host: app.test\r\n\r\n"],
  ["NUL in a header", "GET / HTTP/1.1\r\nHost: app.test\r\nX-A: a\x00b\r\n\r\n"],
  ["a lone CR in a header", "GET / HTTP/1.1\r\nHost: app.test\r\nX-A: a\rX-B: b\r\n\r\n"],
  ["a lone LF", "GET / HTTP/1.1\nHost: app.test\n\n"],
  ["NUL in a name", "GET / HTTP/1.1\r\nHost: app.test\r\nX\x00A: a\r\n\r\n"],
  ["no Host", "GET / HTTP/1.1\r\nX-A: a\r\n\r\n"],
  ["no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"],
  ["two Hosts", "GET / HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\n\r\n"],
  ["an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"],
  ["a Host that is none", "GET / HTTP/1.1\r\nHost: app.test/../x\r\n\r\n"],
  ["a user in the Host", "GET / HTTP/1.1\r\nHost: a@app.test\r\n\r\n"],
  ["a port that is none", "GET / HTTP/1.1\r\nHost: app.test:80x\r\n\r\n"],
  ["a user in the target", "GET http://a@app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n"],
  ["another scheme", "GET ftp://app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n"],
  ["a target without a slash", "GET app.test HTTP/1.1\r\nHost: app.test\r\n\r\n"],
  ["a space in the target", "GET /a b HTTP/1.1\r\nHost: app.test\r\n\r\n"],
  ["HTTP/2 prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ["no HTTP at all", "EHLO mail.test\r\n"],
])("%s is answered with 400 and never reaches a container", async (_, text) => {
  await using one = client(proxy.port, text + SMUGGLED);
  const answer = await one.ends();
  expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*<\/html>\n$/);
  expect(answer).toMatch(/\r\nConnection: close\r\n/i);
  expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  expect(arrived).toBe("");
});

test.each([
  ["a size that is none", "zz\r\n"],
  ["a size that overflows", "fffffffffffffffff\r\n"],
  ["a negative size", "-1\r\n"],
  ["more than the size says", "1\r\nabc\r\n0\r\n\r\n"],
  ["a lone LF behind the size", "1\na\r\n0\r\n\r\n"],
])("a chunk with %s ends the request, and nothing behind it is read", async (_, chunk) => {
  const head = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
  await using one = client(proxy.port, head + chunk + SMUGGLED);
  expect((await one.ends()).match(/HTTP\/1\.1 200/g) ?? []).toHaveLength(0);
  expect(arrived).not.toContain("smuggled");
});

test("the body of a refused request is not parsed as the next one", async () => {
  const head = `POST / HTTP/1.1\r\nHost: other.test\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n`;
  await using one = client(proxy.port, head + SMUGGLED + SMUGGLED.replace("smuggled", "next"));
  await one.sees("ok");
  expect(arrived).toContain("/next");
  expect(arrived).not.toContain("/smuggled");
});

test("Connection removes neither the length of a body nor the host", async () => {
  const { head } = await ask(
    proxy.port,
    "POST / HTTP/1.1\nHost: app.test\nContent-Length: 4\nConnection: Content-Length, Host, Transfer-Encoding",
    "\r\n\r\n",
  );
  expect(head).toStartWith("HTTP/1.1 200 ");
  expect(arrived).toMatch(/^POST \/ HTTP\/1.1\r\nHost: app.test\r\n/);
  expect(arrived).toContain("Content-Length: 4\r\n");
});

test("CONNECT is answered with 405", async () => {
  await using one = client(proxy.port, "CONNECT app.test:80 HTTP/1.1\r\nHost: app.test:80\r\n\r\n");
  expect(await one.ends()).toStartWith("HTTP/1.1 405 Method Not Allowed\r\n");
  expect(arrived).toBe("");
});

test("TRACE, whose answer would repeat what a browser hides from its pages, is answered with 405", async () => {
  const { head } = await ask(proxy.port, "TRACE / HTTP/1.1\nHost: app.test\nCookie: secret");
  expect(head).toStartWith("HTTP/1.1 405 Method Not Allowed\r\n");
  expect(arrived).toBe("");
});

test("an expectation that is not known is answered with 417", async () => {
  const { head } = await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test\nExpect: wonders");
  expect(head).toStartWith("HTTP/1.1 417 ");
});

test.each([
  ["a header of 40 kB", `X-A: ${"a".repeat(40_000)}\r\n`],
  ["a target of 40 kB", ""],
  ["130 headers", Array.from({ length: 130 }, (_, n) => `X-${n}: 1\r\n`).join("")],
])("%s is too much", async (what, headers) => {
  const target = what.includes("target") ? `/${"a".repeat(40_000)}` : "/";
  await using one = client(proxy.port, `GET ${target} HTTP/1.1\r\nHost: app.test\r\n${headers}\r\n`);
  expect(await one.ends()).toStartWith("HTTP/1.1 431 ");
  expect(arrived).toBe("");
});

test("requests that come at once are answered in their order", async () => {
  const requests = Array.from({ length: 50 }, (_, n) => `GET /${n} HTTP/1.1\r\nHost: app.test\r\n\r\n`);
  await using one = client(proxy.port, requests.join(""));
  await until("all are answered", () => (one.text().match(/200 OK/g) ?? []).length === 50);
  expect(arrived.match(/GET \/\d+/g)).toHaveLength(50);
});

test("of requests that are sent ahead the container gets one at a time", async () => {
  const got: string[] = [];
  const release: (() => void)[] = [];
  await using slow = await service((socket) =>
    socket.on("data", (data) => {
      got.push(/ (\S+)/.exec(data.toString())?.[1] ?? "");
      release.push(() => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    }),
  );
  await using own = await ingress([routeTo(slow.port), routeTo(backend.port, "other.test")]);
  const request = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: app.test\r\n\r\n`;
  await using one = client(own.port, ["/1", "/2", "/3"].map(request).join(""));
  for (let n = 1; n <= 3; n++) {
    await until(`request ${n} is there`, () => got.length >= n);
    // By then the others would be there, too.
    await ask(own.port, "GET / HTTP/1.1\nHost: other.test");
    expect(got).toEqual(["/1", "/2", "/3"].slice(0, n));
    release[n - 1]?.();
  }
  await one.sees(/ok[^]*ok[^]*ok/);
});

test("a client that sends thousands of requests ahead is cut off, and soon", async () => {
  await using slow = await service((socket) => void socket.resume().on("end", () => socket.end()));
  await using own = await ingress([routeTo(slow.port)]);
  const request = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";
  await using one = client(own.port, request.repeat(20_000));
  await one.ends();
  expect(own.status().requests).toBe(1);
  await until("the container is rid of it", () => slow.sockets.every(({ destroyed }) => destroyed));
});

test("a request for a tunnel does not overtake an answer that is still to come", async () => {
  await using slow = await service(() => {});
  await using own = await ingress([routeTo(slow.port)]);
  await using one = client(
    own.port,
    "GET / HTTP/1.1\r\nHost: app.test\r\n\r\nCONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n",
  );
  expect(await one.ends()).toBe("");
});

test("what cannot be read behind a good request does not spoil its answer", async () => {
  await using one = client(proxy.port, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n\x00\x00\x00\x00");
  const text = await one.ends();
  expect(text).toStartWith("HTTP/1.1 200 OK\r\n");
  expect(text).toEndWith("\r\n\r\nok");
});

test.each([
  ["never begins", ""],
  ["stops in its head", "GET / HTTP/1.1\r\nHost: app.test\r\nX-A: "],
])("a client whose request %s is closed in time", async (_, text) => {
  await using proxy = await ingress([routeTo(backend.port)], { head: milliseconds(300) });
  await using one = client(proxy.port, text);
  // Left alone, the runtime does so after 12 s.
  await until("it is closed", one.isClosed, seconds(8));
});

test("a client that drips its head is closed in time", async () => {
  await using proxy = await ingress([routeTo(backend.port)], { head: milliseconds(500) });
  await using one = client(proxy.port, "GET / HTTP/1.1\r\nHost: app.test\r\n");
  let n = 0;
  while (!one.isClosed()) {
    one.socket.write(`X-${n++}: 1\r\n`);
    await elapse(milliseconds(50));
    expect(n).toBeLessThan(100);
  }
});

test("a connection above the limit gets a 503, and those below it go on", async () => {
  await using proxy = await ingress([routeTo(backend.port)], { connections: 3 });
  const request = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";
  const within = [1, 2, 3].map(() => client(proxy.port, request));
  for (const one of within) await one.sees("ok");
  const answer = await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test");
  expect(answer.head).toStartWith("HTTP/1.1 503 Service Unavailable\r\n");
  within[0]?.socket.write(request);
  await within[0]?.sees(/ok[^]*ok/);
  for (const one of within) await one[Symbol.asyncDispose]();
  expect((await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test")).head).toStartWith("HTTP/1.1 200 ");
});

test("a thousand connections come and go, and none to the container is left", async () => {
  const before = proxy.status().requests;
  for (let round = 0; round < 20; round++)
    await Promise.all(
      Array.from({ length: 50 }, async (_, n) => {
        const one = client(proxy.port, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        if (n % 2 === 0) await one.sees("ok");
        one.socket.destroy();
      }),
    );
  expect((await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test")).head).toStartWith("HTTP/1.1 200 ");
  expect(proxy.status().requests - before).toBeGreaterThan(500);
  expect(proxy.status().failed).toBe(0);
  await until("all are closed", () => backend.sockets.every(({ destroyed }) => destroyed));
});
