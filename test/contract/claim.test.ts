// Claiming: one request at a time, patient with a silent server, and never a storm.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { seconds } from "../../src/lib/duration.ts";
import { TEST_LIMIT, enrolledAgent, enrolledProcess } from "../support/agent.ts";
import { refusal } from "../support/sandbox.ts";
import { elapse, until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

describe.concurrent("claims", () => {
  test("are never two at a time, whatever is claimed, and the server is asked to wait", async () => {
    await using node = await enrolledAgent({ watched: true });
    const tasks = Array.from({ length: 12 }, (_, i) => node.runs(`echo ${i}`));
    for (const task of tasks) await task.finishes("success");
    const [first] = node.gateway.seen.filter(({ route }) => route === "claim");
    expect(first?.body).toMatchObject({ maxTasks: 1, waitMs: 2_000 });
    expect(first?.body["capabilities"]).toContain("shell.exec");
    expect(node.gateway.peak("claim")).toBe(1);
    for (const task of tasks) expect(task.rows()).toHaveLength(1);
  });

  test("wait longer than the server: a slow one loses no task", async () => {
    await using node = await enrolledAgent({
      watched: true,
      settings: { request_timeout: "1s", task_poll_interval: "1s" },
    });
    node.gateway.interfere(async (route, forward) => {
      if (route === "claim") await elapse(seconds(4));
      return forward();
    });
    await node.runs("true").finishes("success");
    expect(node.gateway.count("claim")).toBeLessThanOrEqual(2);
    expect(node.gateway.seen.filter(({ route }) => route === "claim")[0]?.status).toBe(200);
  });

  test("after one whose answer was lost wait until it is over on the server", async () => {
    await using node = await enrolledAgent({
      watched: true,
      started: false,
      settings: { task_poll_interval: "3s" },
    });
    node.gateway.interfere((route, forward) =>
      route === "claim" && node.gateway.count("claim") === 1 ? Promise.reject(new Error("lost")) : forward(),
    );
    const before = Date.now();
    await node.starts();
    await until("a second claim", () => node.gateway.count("claim") > 1);
    const second = node.gateway.seen.filter(({ route }) => route === "claim")[1];
    // The agent counts from the moment it asked, and allows 2 s for the way to the server.
    expect((second?.at ?? 0) - before).toBeGreaterThan(4_900);
  });

  test("of a killed agent are waited for by the next one", async () => {
    await using node = await enrolledProcess({ watched: true, settings: { task_poll_interval: "3s" } });
    await until("a claim is open", () => node.gateway.count("claim") === 1);
    await node.dies();
    const [open] = node.edits((database) =>
      database.query<{ until: string }, []>("SELECT until FROM open_claim").all(),
    );
    const { wall } = v.parse(v.object({ wall: v.number() }), JSON.parse(open?.until ?? "{}"));
    await node.starts();
    await until("a second claim", () => node.gateway.count("claim") > 1);
    const second = node.gateway.seen.filter(({ route }) => route === "claim")[1];
    expect(second?.at).toBeGreaterThan(wall - 100);
  });

  test("do not wait an hour because the clock was set back by one", async () => {
    await using node = await enrolledAgent();
    await node.stops(0);
    node.edits((database) =>
      database.run("INSERT OR REPLACE INTO open_claim VALUES (1, ?)", [
        JSON.stringify({ boot: "an earlier one", steady: 0, wall: Date.now() + 3_600_000 }),
      ]),
    );
    await node.starts();
    await node.runs("true").finishes("success");
  });

  test("of a server that cannot be reached begin again as soon as it can", async () => {
    await using node = await enrolledAgent();
    await node.plane.goesAway();
    await until("the agent has noticed", () => node.log.some((line) => line.includes('"loop":"claim"')));
    await node.plane.comesBack();
    await node.runs("true").finishes("success");
    expect(node.log.some((line) => line.includes("the control plane answers again"))).toBe(true);
  });
});

describe.concurrent("no storm of claims, when every answer is", () => {
  test.each([
    ["404", () => refusal(404, "Cannot POST /api/v1/agent/tasks/claim")],
    ["409", () => refusal(409, "conflict")],
    ["500", () => refusal(500, "Internal server error")],
    ["401", () => refusal(401, "Invalid agent credentials")],
    ["a redirect", () => new Response(null, { status: 302, headers: { location: "https://example.com/" } })],
    ["a web page", () => new Response("<html>welcome</html>")],
    ["empty at once", () => Response.json({ task: null, outputTruncated: false })],
  ])("%s", async (_, answer) => {
    await using node = await enrolledAgent({ watched: true, started: false });
    node.gateway.interfere((route, forward) => (route === "claim" ? answer() : forward()));
    await node.starts();
    await until("it claims three times", () => node.gateway.count("claim") >= 3);
    const [first, , third] = node.gateway.seen.filter(({ route }) => route === "claim");
    // Of the two pauses another loop that reaches the server may cut one short; the other is ½ s at least.
    expect((third?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(450);
    // And it goes on by itself.
    node.gateway.interfere(undefined);
    await node.runs("true").finishes("success", 25_000);
  });
});
