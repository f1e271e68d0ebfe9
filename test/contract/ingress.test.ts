// The ingress between a client that writes bytes and a server of Node's: where requests go, and that nothing of them changes.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { Socket } from "node:net";
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import {
  type NodeServer,
  type TestIngress,
  ask,
  client,
  ingress,
  nodeServer,
  routeTo,
  received,
  valuesIn,
} from "../support/ingress.ts";
import { service } from "../support/tunnel.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(seconds(150));

let backend: NodeServer;
let proxy: TestIngress;
beforeAll(async () => {
  backend = await nodeServer();
  proxy = await ingress([routeTo(backend.port)]);
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
});

test.each(["app.test", "APP.Test", "app.test:8081", "app.test.", "app.test.:1"])(
  "the Host %s leads to the project",
  async (host) => {
    const seen = await received(proxy.port, `GET / HTTP/1.1\nHost: ${host}`);
    expect(valuesIn(seen, "host")).toEqual([host]);
  },
);

test("a path arrives as it was written, never decoded or normalised", async () => {
  const path = "/a/../b//c%2Fd/./%2e%2e/\\?x=%20+%2f&&y=[1]|'\"";
  expect((await received(proxy.port, `GET ${path} HTTP/1.1\nHost: app.test`)).url).toBe(path);
});

test("of a request in the form for proxies the host in its target counts", async () => {
  const seen = await received(proxy.port, "GET http://app.test:80/a?b HTTP/1.1\nHost: other.test");
  expect(seen.url).toBe("/a?b");
  expect(valuesIn(seen, "host")).toEqual(["app.test:80"]);
});

test.each(["DELETE", "OPTIONS", "PATCH", "PROPFIND", "PUT"])("%s is passed on as it is", async (method) => {
  expect((await received(proxy.port, `${method} /x HTTP/1.1\nHost: app.test`)).method).toBe(method);
});

test("who the client is comes from its connection, whatever it says", async () => {
  const seen = await received(
    proxy.port,
    `GET / HTTP/1.1
     Host: app.test:99
     X-Forwarded-For: 10.9.9.9
     x-forwarded-for: 10.9.9.8
     X_Forwarded_For: 10.9.9.7
     X-Forwarded-Proto: https
     X-Forwarded-Host: bank.test
     X-Forwarded-Prefix: /admin
     X-Real-IP: 10.9.9.9
     Forwarded: for=10.9.9.9
     Proxy: http://10.9.9.9
     True-Client-IP: 10.9.9.9
     X-Client-IP: 10.9.9.9
     x_client_ip: 10.9.9.9
     CF-Connecting-IP: 10.9.9.9
     X-Original-URL: /admin
     X-Rewrite-URL: /admin
     X-Original-Forwarded-For: 10.9.9.9
     X-Remote-User: admin
     X-SSL-Client-Verify: admin
     Connection: X-Forwarded-For, Host, X-Real-IP`,
  );
  expect(valuesIn(seen, "x-forwarded-for")).toEqual(["127.0.0.1"]);
  expect(valuesIn(seen, "x-forwarded-host")).toEqual(["app.test:99"]);
  expect(valuesIn(seen, "x-forwarded-proto")).toEqual(["http"]);
  expect(valuesIn(seen, "x-real-ip")).toEqual(["127.0.0.1"]);
  expect(valuesIn(seen, "host")).toEqual(["app.test:99"]);
  expect(seen.headers.join()).not.toMatch(/10\.9\.9|admin|bank/);
});

test("what is for one hop only passes in neither direction, the rest keeps order, case and repetitions", async () => {
  const seen = await received(
    proxy.port,
    `GET / HTTP/1.1
     Host: app.test
     X-Hop: 1
     X-Mixed-CASE: a
     Keep-Alive: timeout=3
     x-mixed-case: b
     Proxy-Authorization: secret
     TE: gzip
     Connection: x-hop`,
  );
  expect(seen.headers.join(" ")).toMatch(/X-Mixed-CASE a x-mixed-case b/);
  expect(seen.headers.join(" ")).not.toMatch(/hop|secret|timeout|gzip/i);
  const { head } = await ask(proxy.port, "GET /hops HTTP/1.1\nHost: app.test");
  expect(head).toContain("X-End: 2");
  expect(head).not.toMatch(/X-Hop|timeout=9/);
});

test("an answer keeps its cookies, its redirect, its coding and its bytes", async () => {
  expect((await ask(proxy.port, "GET /cookies HTTP/1.1\nHost: app.test")).head).toMatch(
    /Set-Cookie: a=1\r\nSet-Cookie: b=2/,
  );
  expect((await ask(proxy.port, "GET /redirect HTTP/1.1\nHost: app.test")).head).toMatch(
    /^HTTP\/1.1 302 Found\r\nLocation: http:\/\/elsewhere.test\/a\?b/,
  );
  expect((await ask(proxy.port, "GET /latin1 HTTP/1.1\nHost: app.test")).head).toContain("X-Name: caf\u00e9");
  const [direct, through] = await Promise.all(
    [backend.port, proxy.port].map((port) => ask(port, "GET /gzip HTTP/1.0\nHost: app.test")),
  );
  expect(through?.head).toContain("Content-Encoding: gzip");
  expect(through?.body).toBe(direct?.body ?? "");
});

test("HEAD has the length and no body, 204 and 304 have none, and the connection goes on", async () => {
  const lines = [
    "HEAD /length HTTP/1.1\r\nHost: app.test\r\n\r\n",
    "GET /empty?status=204 HTTP/1.1\r\nHost: app.test\r\n\r\n",
    "GET /empty?status=304 HTTP/1.1\r\nHost: app.test\r\n\r\n",
    "GET /length HTTP/1.1\r\nHost: app.test\r\n\r\n",
  ];
  await using one = client(proxy.port, lines.join(""));
  const text = await one.sees("hello, world");
  expect([...text.matchAll(/HTTP\/1.1 (\d+)/g)].map(([, status]) => status)).toEqual([
    "200",
    "204",
    "304",
    "200",
  ]);
  expect(text.match(/Content-Length: 12/gi)).toHaveLength(2);
  expect(text.match(/hello/g)).toHaveLength(1);
});

test("trailers pass in both directions", async () => {
  const answer = await ask(proxy.port, "GET /trailers HTTP/1.1\nHost: app.test\nTE: trailers");
  expect(answer.body).toBe("1\r\na\r\n1\r\nb\r\n0\r\nX-Sum: 7\r\n\r\n");
  const sent = await ask(
    proxy.port,
    "POST /sum HTTP/1.1\nHost: app.test\nTransfer-Encoding: chunked",
    "3\r\nabc\r\n0\r\nX-Sum: 9\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n",
  );
  expect(JSON.parse(sent.body)).toMatchObject({ bytes: 3, trailers: ["X-Sum", "9"] });
});

test("whether a body is wanted is decided by the server, not the ingress", async () => {
  const head = "POST /sum HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
  await using one = client(proxy.port, head);
  expect(await one.sees("\r\n\r\n")).toBe("HTTP/1.1 100 Continue\r\n\r\n");
  one.socket.write("12345");
  expect(await one.sees("sha256")).toContain('"bytes":5');
  await using other = client(proxy.port, head.replace("/sum", "/refuse"));
  expect(await other.ends()).toMatch(/^HTTP\/1.1 413 [^]*Connection: close\r\n/);
  await using unknown = client(proxy.port, head.replace("app.test", "other.test"));
  expect(await unknown.ends()).toMatch(/^HTTP\/1.1 502 [^]*Connection: close\r\n/);
});

test("a client that does not wait for 100 Continue does not get it", async () => {
  await using eager = await service((socket) => {
    const go = "HTTP/1.1 100 Continue\r\n\r\n";
    socket.once("data", () => socket.end(`${go}${go}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`));
  });
  await using own = await ingress([routeTo(eager.port)]);
  for (const head of ["GET / HTTP/1.0\nHost: app.test", "GET / HTTP/1.1\nHost: app.test"])
    expect((await ask(own.port, head)).head).toStartWith("HTTP/1.1 200 OK\r\n");
  const waits = "POST / HTTP/1.1\nHost: app.test\nExpect: 100-continue\nContent-Length: 2";
  const { body } = await ask(own.port, waits, "ab");
  expect(body).toStartWith("HTTP/1.1 200 OK\r\n");
});

test("HTTP/1.0 is answered without chunks", async () => {
  const { head, body } = await ask(proxy.port, "GET /trailers HTTP/1.0\nHost: app.test");
  expect(head).not.toMatch(/chunked|trailer/i);
  expect(body).toBe("ab");
});

test("two requests of a client share its connection, and the one to the container", async () => {
  await using own = await nodeServer();
  await using proxy = await ingress([routeTo(own.port)]);
  await using one = client(proxy.port, "GET /1 HTTP/1.1\r\nHost: app.test\r\n\r\n");
  await one.sees('"/1"');
  one.socket.write("GET /2 HTTP/1.1\r\nHost: app.test\r\n\r\n");
  await one.sees('"/2"');
  // The third is that of the question itself.
  expect(await own.seen()).toMatchObject({ requests: 3, connections: 2 });
});

test("no proxy of the environment is used on the way to a container", async () => {
  const before = process.env["HTTP_PROXY"];
  process.env["HTTP_PROXY"] = "http://127.0.0.1:1";
  try {
    expect((await received(proxy.port, "GET /p HTTP/1.1\nHost: app.test")).url).toBe("/p");
  } finally {
    if (before === undefined) delete process.env["HTTP_PROXY"];
    else process.env["HTTP_PROXY"] = before;
  }
});

test("an unknown host gets 502 and a page that says nothing of what is behind", async () => {
  for (const host of ["other.test", "127.0.0.1", "[::1]:80", "app.test.evil.test"]) {
    const { head, body } = await ask(proxy.port, `GET /secret HTTP/1.1\nHost: ${host}`);
    expect(head).toMatch(/^HTTP\/1.1 502 Bad Gateway\r\n/);
    expect(head).toContain("Content-Type: text/html");
    expect(body).toStartWith("<!doctype html>");
    expect(body).not.toMatch(/other|evil|secret|127|app|project|container|bun/i);
  }
  expect((await ask(proxy.port, "HEAD / HTTP/1.1\nHost: other.test")).body).toBe("");
});

test("a host follows its routes: to another port, to none while nothing runs, removed with the project", async () => {
  await using proxy = await ingress([routeTo(backend.port)]);
  const status = async (): Promise<string> =>
    (await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test")).head.slice(9, 12);
  expect(await status()).toBe("200");
  proxy.leads({ ...routeTo(backend.port), address: undefined });
  expect(await status()).toBe("502");
  await using other = await nodeServer();
  proxy.leads(routeTo(other.port));
  expect(await status()).toBe("200");
  proxy.leads();
  expect(await status()).toBe("502");
  expect(proxy.status()).toMatchObject({ routes: 0, requests: 4, refused: 1, failed: 1 });
});

test("a dead container gets 502, once in the log, and once more when it is back", async () => {
  await using own = await nodeServer();
  await using proxy = await ingress([routeTo(own.port)]);
  own.kill();
  await until("it is dead", () => !isAlive(own.pid));
  for (let n = 0; n < 3; n++) {
    const { head, body } = await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test");
    expect(head).toStartWith("HTTP/1.1 502 ");
    expect(body).not.toMatch(/refused|127\.0|ECONN/i);
  }
  proxy.leads(routeTo(backend.port));
  await received(proxy.port, "GET / HTTP/1.1\nHost: app.test");
  expect(proxy.lines.filter((line) => line.includes("app.test"))).toEqual([
    expect.stringMatching(/warn.*app\.test, service web of project app: the connection was refused/),
    expect.stringMatching(/info.*answers again/),
  ]);
});

test("a server that does not answer in time gets 502, and its request is given up", async () => {
  await using own = await nodeServer();
  await using proxy = await ingress([routeTo(own.port)], { header: milliseconds(200) });
  expect((await ask(proxy.port, "GET /hang HTTP/1.1\nHost: app.test")).head).toStartWith("HTTP/1.1 502 ");
  await until("it is given up", async () => (await own.seen()).aborted > 0);
});

test("a server that does not take the connection gets 502 after the time for that", async () => {
  await using own = await nodeServer();
  process.kill(own.pid, "SIGSTOP");
  // What the kernel takes in its place: the queue is made full.
  const fillers = Array.from({ length: 8 }, () => client(own.port));
  await using proxy = await ingress([routeTo(own.port)], { connect: milliseconds(200) });
  await until("the queue is full", () => fillers.filter(({ socket }) => !socket.connecting).length > 1);
  const answer = await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test");
  expect(answer.head).toStartWith("HTTP/1.1 502 ");
  expect(proxy.lines.join()).toContain("the connection was not taken in time");
  for (const filler of fillers) filler.socket.destroy();
});

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Answers the first request of a connection; the second finds it closed. */
async function forgetful() {
  const requests: string[] = [];
  const server = await service((socket: Socket) => {
    let isFirst = true;
    socket.on("data", (bytes) => {
      if (!isFirst) {
        socket.destroy();
        return;
      }
      isFirst = false;
      requests.push(bytes.toString("latin1").split(" ", 1)[0] ?? "");
      socket.write(OK);
    });
  });
  return { requests, server };
}

test("an idempotent request on a stale kept connection is repeated once", async () => {
  const { requests, server } = await forgetful();
  await using _server = server;
  await using proxy = await ingress([routeTo(server.port)]);
  for (const method of ["GET", "GET"])
    expect((await ask(proxy.port, `${method} / HTTP/1.1\nHost: app.test`)).head).toStartWith("HTTP/1.1 200 ");
  expect(requests).toEqual(["GET", "GET"]);
  expect(server.sockets).toHaveLength(2);
});

test("a POST is never sent twice", async () => {
  const { requests, server } = await forgetful();
  await using _server = server;
  await using proxy = await ingress([routeTo(server.port)]);
  await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test");
  const { head } = await ask(proxy.port, "POST / HTTP/1.1\nHost: app.test\nContent-Length: 2", "hi");
  expect(head).toStartWith("HTTP/1.1 502 ");
  expect(requests).toEqual(["GET"]);
  expect(server.sockets).toHaveLength(1);
});

test.each([
  ["a length", "HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nok"],
  ["chunks", "HTTP/1.1 200 OK\nX-A: b\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n"],
  ["the end of its connection", "HTTP/1.0 200 OK\nX-A: b\n\nok"],
  ["CR in some lines", "HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 2\r\n\r\nok"],
])("a server that ends its lines with a bare LF, with %s, is understood", async (_, answer) => {
  await using plain = await service((socket) => void socket.once("data", () => socket.end(answer)));
  await using proxy = await ingress([routeTo(plain.port)]);
  const { head, body } = await ask(proxy.port, "GET / HTTP/1.0\nHost: app.test");
  expect(head).toMatch(/^HTTP\/1.1 200 OK\r\n(?:.*\r\n)*X-A: b/);
  expect(body).toBe("ok");
});

test.each([
  ["no HTTP", "SSH-2.0-OpenSSH\r\n"],
  ["an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"],
  ["both framings", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["two lengths after LF", "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 2\n\nab"],
  ["NUL in a header", "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nab"],
  ["a lone CR in a header", "HTTP/1.1 200 OK\r\nX-A: a\rX-B: b\r\nContent-Length: 2\r\n\r\nab"],
  ["an unasked change of protocol", "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"],
  ["nothing", ""],
])("a server that answers with %s gets 502", async (_, answer) => {
  await using odd = await service((socket) => void socket.once("data", () => socket.end(answer)));
  await using proxy = await ingress([routeTo(odd.port)]);
  expect((await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test")).head).toStartWith("HTTP/1.1 502 ");
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
