// The calls of the Noderax API, over a real socket: none takes the answer of another service for the API's.
import { expect, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { publicApi, taskApi } from "../../../src/control/noderax-api.ts";
import { failureOf, forever, httpTo, serve } from "./servers.ts";

const HOST = { agentVersion: "1", platformVersion: "2", kernelVersion: "3" };
const IDENTITY = { nodeId: "n1", agentToken: "secret" };
const AT = "2026-01-01T00:00:00.000Z";

type Api = ReturnType<typeof publicApi> & ReturnType<typeof taskApi>;

const CALLS: [string, (api: Api) => Promise<unknown>][] = [
  ["initiate", (api) => api.initiate({ email: "a@example.com", hostname: "web" }, forever)],
  ["enrollmentState", (api) => api.enrollmentState("token", forever)],
  ["consumeInstall", (api) => api.consumeInstall({ token: "token", hostname: "web" }, forever)],
  [
    "installProgress",
    (api) =>
      api.installProgress(
        { token: "t", stage: "agent_enrolled", progressPercent: 95, statusMessage: "" },
        forever,
      ),
  ],
  ["heartbeat", (api) => api.heartbeat({ ...IDENTITY, ...HOST }, forever)],
  ["metrics", (api) => api.metrics({ ...IDENTITY } as Parameters<Api["metrics"]>[0], forever)],
  ["claim", (api) => api.claim(seconds(0), { capabilities: [] }, forever)],
  ["started", (api) => api.started({ taskId: "t1", timestamp: AT }, forever)],
  ["log", (api) => api.log({ taskId: "t1", stream: "stdout", line: "x", timestamp: AT }, forever)],
  ["completed", (api) => api.completed({ taskId: "t1", status: "success", timestamp: AT }, forever)],
  ["control", (api) => api.control("t1", forever)],
];

const STRANGERS: [string, () => Response][] = [
  ["a sign-in page", () => new Response("<h1>Sign in</h1>", { headers: { "content-type": "text/html" } })],
  ["nothing, with status 200", () => new Response("")],
  ["nothing, with status 204", () => new Response(null, { status: 204 })],
  ["another service's word", () => Response.json({ ok: true })],
  ["an empty object", () => Response.json({})],
  ["an empty list", () => Response.json([])],
];

test.each(CALLS)("%s does not take the answer of another service for its own", async (_, call) => {
  for (const [who, answer] of STRANGERS) {
    await using server = serve(answer);
    const http = httpTo(server);
    const api = { ...publicApi(http, seconds(5)), ...taskApi(http, IDENTITY, seconds(5)) };
    const { code } = await failureOf(call(api));
    expect({ who, code }).toEqual({ who, code: "http.answer" });
  }
});

test("a task's calls do not take the answer about another task for their own", async () => {
  await using server = serve(() =>
    Response.json({ id: "t2", taskId: "t2", status: "running", type: "shell.exec", payload: {} }),
  );
  const api = taskApi(httpTo(server), IDENTITY, seconds(5));
  for (const call of [
    api.started({ taskId: "t1", timestamp: AT }, forever),
    api.completed({ taskId: "t1", status: "success", timestamp: AT }, forever),
    api.control("t1", forever),
  ])
    expect(await failureOf(call)).toMatchObject({ code: "http.answer" });
});
