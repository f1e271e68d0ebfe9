// Something between agent and server answers in its place, with success or refusal: nothing is taken for delivered, or for decided.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type AgentNode, TEST_LIMIT, enrolledAgent } from "../support/agent.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

const page = (status: number): Response =>
  new Response("<html><h1>Please sign in</h1></html>", { status, headers: { "content-type": "text/html" } });

const ANSWERS: [string, () => Response][] = [
  ["a sign-in page with status 200", () => page(200)],
  ["an empty 204", () => new Response(null, { status: 204 })],
  ["another service's JSON", () => Response.json({ ok: true })],
  ["a proxy's 404", () => page(404)],
  ["a firewall's 403", () => page(403)],
  ["a static site's 405", () => page(405)],
  [
    "a redirect to a sign-in page",
    () => new Response(null, { status: 302, headers: { location: "http://127.0.0.1:1/" } }),
  ],
];

/** Answers each of these routes so, twice each, and lets everything else through. */
function answersInstead(node: AgentNode, routes: readonly string[], answer: () => Response): void {
  node.gateway.interfere((route, forward) =>
    routes.includes(route) && node.gateway.count(route) <= 2 ? answer() : forward(),
  );
}

describe.concurrent("a task runs to its end, with its log whole, behind", () => {
  test.each(ANSWERS)("%s", async (_, answer) => {
    await using node = await enrolledAgent({ watched: true });
    answersInstead(node, ["claim", "started", "logs", "control", "completed"], answer);
    const task = node.runs("echo 1; sleep 2.5; echo 2; exit 3");
    expect((await task.finishes("failed")).result).toMatchObject({ exitCode: 3 });
    expect(task.text("stdout")).toBe("1\n2");
    expect(task.text("info")).toBe("");
    await until("the server has been reached on each route", () => node.gateway.count("completed") > 2);
  });
});
