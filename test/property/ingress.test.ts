// Bytes of all kinds on the ingress: what comes back is HTTP or nothing, what gets through is one request, it stays up.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import * as fc from "fast-check";
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import { requestHeaders, responseHeaders } from "../../src/listener/ingress/headers.ts";
import { askedOf, framingOf, hostOf } from "../../src/listener/ingress/request.ts";
import { type TestIngress, ask, client, ingress, routeTo } from "../support/ingress.ts";
import { type Service, service } from "../support/tunnel.ts";

setDefaultTimeout(seconds(120));

let heads: string[] = [];
let backend: Service;
let proxy: TestIngress;
beforeAll(async () => {
  backend = await service((socket) => {
    let text = "";
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1");
      if (!text.includes("\r\n\r\n")) return;
      heads.push(text);
      socket.end("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    socket.on("end", () => socket.end());
  });
  proxy = await ingress([routeTo(backend.port)]);
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
});

const odd = fc.constantFrom(
  "\r",
  "\n",
  "\r\n",
  " ",
  "\t",
  "\0",
  ":",
  ",",
  ";",
  "\x7f",
  "\xff",
  "chunked",
  "0",
  "%",
  "/",
);
const piece = fc.oneof(
  fc.constantFrom(
    "GET / HTTP/1.1\r\n",
    "POST /a HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "Host: app.test\r\n",
    "Host: other.test\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Connection: close\r\n",
    "Connection: Upgrade\r\nUpgrade: x\r\n",
    "Expect: 100-continue\r\n",
    "\r\n",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
  ),
  odd,
  fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCodePoint(code)),
    maxLength: 20,
  }),
);
/** A good head with something put into it, or pieces of heads in any order. */
const GOOD = "POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc";
const request = fc.oneof(
  fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
  fc
    .record({ at: fc.nat({ max: GOOD.length }), cut: fc.nat({ max: 5 }), put: odd })
    .map(({ at, cut, put }) => GOOD.slice(0, at) + put + GOOD.slice(at + cut)),
);

/** One answer after the other, and no bytes that belong to none. */
function isHttp(text: string): boolean {
  let rest = text;
  while (rest !== "") {
    const head = /^HTTP\/1\.1 (\d{3}) [\w -]*\r\n(?:[\w-]+: [^\r\n]*\r\n)*\r\n/.exec(rest);
    if (head === null) return false;
    rest = rest.slice(head[0].length);
    if (head[1]?.startsWith("1")) continue;
    const length = /^content-length: (\d+)/im.exec(head[0])?.[1];
    rest = length === undefined ? "" : rest.slice(Number(length));
  }
  return true;
}

test("whatever is sent, the answer is well formed or the connection is closed, and the next client is served", async () => {
  await fc.assert(
    fc.asyncProperty(request, async (text) => {
      heads = [];
      await using one = client(proxy.port, text);
      // Time for an answer, where there will be one: a client that ends its side gives the request up.
      await Promise.race([one.ends(), Bun.sleep(milliseconds(30))]);
      one.socket.end();
      const answer = await one.ends();
      expect(isHttp(answer)).toBe(true);
      for (const head of heads) {
        expect(head).toMatch(/^(GET|POST) \/\S* HTTP\/1\.1\r\nHost: app\.test/i);
        // The framing is said once, in one way.
        expect(head.match(/^(content-length|transfer-encoding):/gim) ?? []).toHaveLength(
          head.startsWith("POST")
            ? 1
            : (head.match(/^(content-length|transfer-encoding):/gim) ?? []).length && 1,
        );
      }
    }),
    { numRuns: 400 },
  );
  expect((await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test")).head).toStartWith("HTTP/1.1 200 ");
});

const name = fc.constantFrom(
  "Connection",
  "X-Forwarded-For",
  "x_forwarded_for",
  "X-Real-IP",
  "Forwarded",
  "Host",
  "Content-Length",
  "Transfer-Encoding",
  "Upgrade",
  "TE",
  "Keep-Alive",
  "Cookie",
  "X-A",
);
const header = fc.tuple(
  name,
  fc.constantFrom("a", "10.9.9.9", "chunked", "close, X-A", "X-Forwarded-For", "4"),
);

test("no header of a client's says who it is or how its body is framed", () => {
  fc.assert(
    fc.property(fc.array(header, { maxLength: 10 }), (headers) => {
      const made = requestHeaders(headers.flat(), {
        authority: "app.test",
        framing: { length: "7" },
        method: "POST",
        client: "192.0.2.1",
        expects: false,
        upgrade: undefined,
      });
      const of = (wanted: string): string[] =>
        made.filter((_, at) => at % 2 === 1 && made[at - 1]?.toLowerCase().replaceAll("_", "-") === wanted);
      expect(of("x-forwarded-for")).toEqual(["192.0.2.1"]);
      expect(of("x-real-ip")).toEqual(["192.0.2.1"]);
      expect(of("forwarded")).toEqual([]);
      expect(of("host")).toEqual(["app.test"]);
      expect(of("content-length")).toEqual(["7"]);
      expect(of("transfer-encoding")).toEqual([]);
      expect(of("upgrade")).toEqual([]);
      expect(of("connection")).toHaveLength(1);
      expect(responseHeaders(headers.flat(), true).join()).not.toMatch(
        /connection|transfer-enc|upgrade|keep-alive/i,
      );
    }),
  );
});

test("what is taken for a host is in lower case and has neither port nor space, and nothing throws", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.array(fc.string()), (authority, target, raw) => {
      const host = hostOf(authority);
      if (host !== undefined) expect(host).toMatch(/^(\[[\da-f:.]+\]|[a-z0-9_.-]*)$/);
      askedOf(target, raw);
      framingOf("1.1", raw);
    }),
  );
});
