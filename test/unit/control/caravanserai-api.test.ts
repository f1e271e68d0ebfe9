// The calls of the Caravanserai server, over a real socket.
import { expect, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { caravanseraiApi } from "../../../src/control/caravanserai-api.ts";
import { CARAVANSERAI, createHttp } from "../../../src/control/http.ts";
import { failureOf, forever, serve } from "./servers.ts";

const problem = (status: number, detail: string, headers = {}): Response =>
  Response.json(
    { type: "about:blank", title: "Problem", status, detail },
    { status, headers: { "content-type": "application/problem+json", ...headers } },
  );

function apiOf(answer: (request: Request) => Response | Promise<Response>) {
  const seen: string[] = [];
  const server = serve((request) => {
    const { pathname, search } = new URL(request.url);
    seen.push(`${request.method} ${pathname}${search}`);
    return answer(request);
  });
  const http = createHttp({ baseUrl: `${server.url}/base/`, dialect: CARAVANSERAI, authorities: () => "" });
  return {
    api: caravanseraiApi(http, seconds(5)),
    seen,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
const NODE = {
  apiVersion: "caravanserai/v1",
  kind: "Node",
  metadata: { name: "a" },
  spec: { hostname: "a" },
} as const;

test("a node that exists already is fine, and the server's base path is kept", async () => {
  await using it = apiOf(() => problem(409, "exists"));
  await it.api.register(NODE, forever);
  expect(it.seen).toEqual(["POST /base/api/v1/nodes"]);
});

test("a refusal is told in the words of the problem document, with its status and its Retry-After", async () => {
  await using it = apiOf(() => problem(503, "the store is locked", { "retry-after": "7" }));
  const failure = await failureOf(it.api.heartbeat("a", { state: "Ready" }, forever));
  expect([failure.message, failure.status, failure.retryAfter]).toEqual([
    "the store is locked",
    503,
    seconds(7),
  ]);
});

test("the list is asked for with every phase that needs work, Failed too, and the node", async () => {
  await using it = apiOf(() => Response.json({ kind: "ProjectList", items: [{ anything: 1 }] }));
  expect(await it.api.projects("web-1", forever)).toEqual([{ anything: 1 }]);
  expect(it.seen).toEqual([
    "GET /base/api/v1/projects?phase=Scheduled&phase=Running&phase=Failed&phase=Terminating&nodeRef=web-1",
  ]);
});

test("Go's null is an empty list, and an answer that is no list is an error: it would say that nothing is ours", async () => {
  await using empty = apiOf(() => Response.json({ kind: "ProjectList", items: null }));
  expect(await empty.api.projects("a", forever)).toEqual([]);
  await using strange = apiOf(() => Response.json({ ok: true }));
  expect(await failureOf(strange.api.projects("a", forever))).toMatchObject({
    code: "http.answer",
    hint: ["Check server_url."],
  });
});

test("a project that is gone has no place, and its report is no failure", async () => {
  await using it = apiOf(() => problem(404, "no such project"));
  expect(await it.api.place("shop", forever)).toBeUndefined();
  await it.api.report("shop", { phase: "Running", reason: "ContainersRunning", message: "" }, forever);
  expect(it.seen).toEqual(["GET /base/api/v1/projects/shop", "PATCH /base/api/v1/projects/shop/status"]);
});

test.each<[string, () => Response]>([
  ["a proxy", () => new Response("<h1>404</h1>", { status: 404, headers: { "content-type": "text/html" } })],
  ["Go's router", () => new Response("404 page not found", { status: 404 })],
  ["a gateway", () => Response.json({ message: "no Route matched with those values" }, { status: 404 })],
  [
    "another API",
    () => Response.json({ statusCode: 404, message: "Cannot GET", error: "Not Found" }, { status: 404 }),
  ],
  ["a framework", () => Response.json({ status: 404, error: "Not Found", path: "/" }, { status: 404 })],
])("a 404 of %s says nothing of a project, and takes no report", async (_, answer) => {
  await using it = apiOf(answer);
  expect(await failureOf(it.api.place("shop", forever))).toMatchObject({ code: "http.foreign" });
  const report = { phase: "Running", reason: "ContainersRunning", message: "" } as const;
  expect(await failureOf(it.api.report("shop", report, forever))).toMatchObject({ code: "http.foreign" });
});

const PAGES: [string, () => Response][] = [
  ["a page", () => new Response("<h1>Sign in</h1>", { headers: { "content-type": "text/html" } })],
  ["nothing, with status 200", () => new Response("")],
  ["another service's word", () => Response.json({ ok: true })],
];

test.each(PAGES)(
  "%s is taken neither for a delivered report, heartbeat or registration, nor for a list or a place",
  async (_, answer) => {
    await using it = apiOf(answer);
    const report = { phase: "Running", reason: "ContainersRunning", message: "" } as const;
    for (const call of [
      it.api.report("shop", report, forever),
      it.api.heartbeat("a", { state: "Ready" }, forever),
      it.api.register(NODE, forever),
      it.api.projects("a", forever),
      it.api.place("shop", forever),
      it.api.nodePlace("a", forever),
    ])
      expect(await failureOf(call)).toMatchObject({ code: "http.answer" });
  },
);

test("a 204 is a delivered report and heartbeat, and a node that was made is registered", async () => {
  await using it = apiOf((request) =>
    request.url.endsWith("/nodes")
      ? Response.json(NODE, { status: 201 })
      : new Response(null, { status: 204 }),
  );
  await it.api.register(NODE, forever);
  await it.api.heartbeat("a", { state: "Ready" }, forever);
  await it.api.report("shop", { phase: "Running", reason: "ContainersRunning", message: "" }, forever);
});

test("whatever a name holds, it stays one part of the path", async () => {
  await using it = apiOf(() => Response.json({ metadata: { name: "x" }, status: { phase: "Failed" } }));
  expect((await it.api.place("../nodes?a=b", forever))?.status).toEqual({
    phase: "Failed",
    nodeRef: "",
    conditions: [],
  });
  expect(it.seen).toEqual(["GET /base/api/v1/projects/..%2Fnodes%3Fa%3Db"]);
});
