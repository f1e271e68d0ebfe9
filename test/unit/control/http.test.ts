// One HTTP call against servers that answer late, wrongly, halfway or not at all: each failure has its own name.
import { expect, test } from "bun:test";
import * as v from "valibot";
import { type Duration, milliseconds, seconds } from "../../../src/lib/duration.ts";
import { exit } from "../../../src/lib/agent-error.ts";
import { createHttp } from "../../../src/control/http.ts";
import { failureOf, forever, get, httpTo, serve, serveBytes } from "./servers.ts";

const json = (body: unknown, init?: ResponseInit): Response => Response.json(body, init);

test("an answer is checked against its shape, and fields we do not know are ignored", async () => {
  await using server = serve(() => json({ id: "7", extra: true }));
  const answer = await httpTo(server)({ ...get, answer: v.object({ id: v.string() }) }, forever);
  expect(answer).toEqual({ id: "7" });
});

test("a call carries its body, its headers and a correlation id of its own", async () => {
  const seen: { headers: Headers; body: unknown; path: string }[] = [];
  await using server = serve(async (request) => {
    seen.push({ headers: request.headers, body: await request.json(), path: new URL(request.url).pathname });
    return json({});
  });
  const call = { ...get, method: "POST", body: { ü: "😀" }, headers: { authorization: "Bearer t" } } as const;
  const http = createHttp({ baseUrl: `${server.url}/prefix//`, authorities: () => "" });
  await http(call, forever);
  await http(call, forever);
  expect(seen.map(({ body, path }) => ({ body, path }))).toEqual(
    Array.from({ length: 2 }, () => ({ body: { ü: "😀" }, path: "/prefix/thing" })),
  );
  expect(seen[0]?.headers.get("authorization")).toBe("Bearer t");
  expect(seen[0]?.headers.get("content-type")).toBe("application/json");
  const ids = seen.map(({ headers }) => headers.get("x-correlation-id"));
  expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
  expect(ids[0]).not.toBe(ids[1] as string);
});

test("a call without a body says nothing about its type", async () => {
  let type: string | null = "";
  await using server = serve((request) => {
    type = request.headers.get("content-type");
    return json({});
  });
  await httpTo(server)(get, forever);
  expect(type).toBeNull();
});

test("an empty answer is taken where any answer is", async () => {
  await using server = serve(() => new Response(null, { status: 204 }));
  expect(await httpTo(server)(get, forever)).toBeUndefined();
});

test("a server that does not answer in time is a time-out, and says how long we waited", async () => {
  await using server = serve(() => new Promise<Response>(() => {}));
  const error = await failureOf(httpTo(server)({ ...get, timeout: milliseconds(80) }, forever));
  expect(error.code).toBe("net.timeout");
  expect(error.message).toContain("no answer within 80ms");
  expect(error.exit).toBe(exit.unreachable);
});

test("a server that never ends its answer is a time-out as well", async () => {
  await using server = await serveBytes((socket) => {
    socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{");
  });
  const begin = performance.now();
  const error = await failureOf(httpTo(server)({ ...get, timeout: milliseconds(80) }, forever));
  expect(error.code).toBe("net.timeout");
  expect(performance.now() - begin).toBeLessThan(20_000);
});

test.each([
  ["before the head", ""],
  ["inside the body", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"],
])("our own abort %s is no failure of the server", async (_, beginning) => {
  const stop = new AbortController();
  await using server = await serveBytes((socket) => {
    socket.write(beginning);
    setTimeout(() => stop.abort(), 20); // The client reads the beginning first.
  });
  const error = await failureOf(httpTo(server)(get, stop.signal));
  expect([error.code, error.exit]).toEqual(["aborted", exit.interrupted]);
});

test("with a signal that was aborted before, nothing is sent", async () => {
  let requests = 0;
  await using server = serve(() => {
    requests++;
    return json({});
  });
  expect((await failureOf(httpTo(server)(get, AbortSignal.abort()))).code).toBe("aborted");
  expect(requests).toBe(0);
});

/** Drops the connection of the first `drops` requests, and counts all. */
async function dropping(drops: number) {
  const requests: string[] = [];
  const server = await serveBytes((socket, request) => {
    requests.push(request);
    if (requests.length <= drops) socket.resetAndDestroy();
    else socket.end("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
  });
  return { ...server, requests };
}

test("a lost connection is tried once more when that does no harm", async () => {
  await using server = await dropping(1);
  expect(await httpTo(server)(get, forever)).toEqual({});
  expect(server.requests).toHaveLength(2);
});

test("a second lost connection is an error, not retried forever", async () => {
  await using server = await dropping(9);
  expect((await failureOf(httpTo(server)(get, forever))).code).toBe("net.reset");
  expect(server.requests).toHaveLength(2);
});

test("what must not be sent twice is not: a log row, a claim", async () => {
  await using server = await dropping(1);
  const call = { ...get, method: "POST", body: {}, idempotent: false } as const;
  expect((await failureOf(httpTo(server)(call, forever))).code).toBe("net.reset");
  expect(server.requests).toHaveLength(1);
});

test("an answer that breaks off is a lost connection", async () => {
  await using server = await serveBytes((socket) => {
    socket.end('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"a":');
  });
  expect((await failureOf(httpTo(server)({ ...get, idempotent: false }, forever))).code).toBe("net.reset");
});

test("a refused connection is net.refused, with a hint", async () => {
  const server = await serveBytes(() => {});
  await server[Symbol.asyncDispose]();
  const error = await failureOf(httpTo(server)(get, forever));
  expect(error.code).toBe("net.refused");
  expect(error.message).toBe(`cannot reach ${server.url}: connection refused`);
  expect(error.hint).not.toBeEmpty();
});

test("a name without an address is net.unresolved", async () => {
  const error = await failureOf(httpTo({ url: "http://no-such-host.invalid" })(get, forever));
  expect(error.code).toBe("net.unresolved");
});

test.each([301, 302, 307, 308])(
  "a redirect (%d) is refused, and the token never follows it",
  async (status) => {
    let followed = false;
    await using target = serve(() => {
      followed = true;
      return json({});
    });
    await using server = serve(() => new Response(null, { status, headers: { location: target.url } }));
    const error = await failureOf(httpTo(server)(get, forever));
    expect(error).toMatchObject({ code: "http.redirect", status });
    expect(error.message).toContain(target.url);
    expect(followed).toBe(false);
  },
);

test.each([
  [400, { statusCode: 400, message: "line must be longer", errors: ["line must be longer"] }, exit.refused],
  [401, { statusCode: 401, message: "Invalid agent token", error: "Unauthorized" }, exit.refused],
  [409, { statusCode: 409, message: "Task t is already failed", path: "/x" }, exit.refused],
  [429, { statusCode: 429, message: "ThrottlerException" }, exit.unreachable],
  [500, { statusCode: 500, message: "Internal server error" }, exit.unreachable],
])("a %d says what the server said", async (status, body, exitCode) => {
  await using server = serve(() => json(body, { status }));
  const error = await failureOf(httpTo(server)(get, forever));
  expect(error).toMatchObject({ code: "http.status", status, message: body.message, exit: exitCode });
});

test.each([
  ["<html>Bad gateway</html>", "Bad Gateway"],
  ["", "Bad Gateway"],
  ['{"message": ["not", "a", "string"]}', "Bad Gateway"],
])("an error page of something in between (%p) is named by its status", async (body, message) => {
  await using server = serve(() => new Response(body, { status: 502 }));
  expect(await failureOf(httpTo(server)(get, forever))).toMatchObject({
    code: "http.status",
    status: 502,
    message,
  });
});

test.each([400, 401, 403, 404, 405, 409, 410])(
  "a %d that is not in the server's words is not the server's: it has no status to act on",
  async (status) => {
    for (const body of ["<h1>no</h1>", "", '{"error":"no"}']) {
      await using server = serve(() => new Response(body, { status }));
      const error = await failureOf(httpTo(server)(get, forever));
      expect([error.code, error.status]).toEqual(["http.foreign", undefined]);
      expect(error.message).toContain(`answered ${status}, but not in the words of a Noderax API`);
    }
  },
);

test("an answer 15 million levels deep is refused before it is parsed", async () => {
  const levels = 15_000_000;
  await using server = serve(() => new Response(`${"[".repeat(levels)}${"]".repeat(levels)}`));
  const begin = performance.now();
  const error = await failureOf(httpTo(server)({ ...get, answer: v.array(v.unknown()) }, forever));
  expect(error.code).toBe("http.answer");
  expect(performance.now() - begin).toBeLessThan(20_000);
});

test.each<[string, Duration | undefined]>([
  ["120", seconds(120)],
  [" 3 ", seconds(3)],
  ["0", 0],
  ["soon", undefined],
  ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
])("the server's request for a pause %p is understood", async (header, pause) => {
  await using server = serve(() => new Response(null, { status: 429, headers: { "retry-after": header } }));
  expect((await failureOf(httpTo(server)(get, forever))).retryAfter).toBe(pause);
});

test("Retry-After may be a date", async () => {
  const date = new Date(Date.now() + seconds(90)).toUTCString();
  await using server = serve(() => new Response(null, { status: 503, headers: { "retry-after": date } }));
  const { retryAfter } = await failureOf(httpTo(server)(get, forever));
  expect(retryAfter).toBeGreaterThan(seconds(85));
  expect(retryAfter).toBeLessThanOrEqual(seconds(92)); // by the answer's own date, which Bun renews once a second
});

test.each([
  ["a page", "<html>Welcome</html>"],
  ["half of an answer", '{"id": "7"'],
  ["an answer of another shape", '{"id": 7}'],
])("%s with status 200 is not taken for an answer", async (_, body) => {
  await using server = serve(() => new Response(body));
  const error = await failureOf(httpTo(server)({ ...get, answer: v.object({ id: v.string() }) }, forever));
  expect(error.code).toBe("http.answer");
  expect(error.message).toContain("something else than a Noderax API");
  expect(error.hint).toEqual(["Check api_url."]);
});

test("an answer of 33 MB is refused before it is in memory", async () => {
  let sent = 0;
  const chunk = new Uint8Array(1_000_000).fill(0x20);
  await using server = serve(
    () =>
      new Response(
        new ReadableStream({
          pull(controller) {
            sent += chunk.length;
            controller.enqueue(chunk);
            if (sent > 200_000_000) controller.close();
          },
        }),
      ),
  );
  const error = await failureOf(httpTo(server)(get, forever));
  expect([error.code, error.message]).toEqual(["http.answer", "the server's answer is larger than 32 MB"]);
  expect(sent).toBeLessThan(100_000_000);
});

test("the authorities are asked for once, and not for plain HTTP", async () => {
  let asked = 0;
  await using server = serve(() => json({}));
  const http = createHttp({ baseUrl: server.url, authorities: () => String(asked++) });
  await http(get, forever);
  expect(asked).toBe(0);
});
