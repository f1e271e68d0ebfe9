// The realtime session against a real Socket.IO server: authentication, requests, signs of life, reconnects.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { milliseconds, seconds } from "../../../src/lib/duration.ts";
import { Wake } from "../../../src/lib/loop.ts";
import { Ack } from "../../../src/protocol/noderax/realtime.ts";
import { turn, until } from "../../support/until.ts";
import { identity, letIn, network, pauseOf, plane, refuse, start } from "./harness.ts";

setDefaultTimeout(150_000);

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "answered",
    (error: unknown) => (error instanceof AgentError ? error.code : String(error)),
  );

describe.concurrent("authentication", () => {
  test("nothing but agent.auth is sent before it is answered, and it names all three versions", async () => {
    let answer = (): void => {};
    await using server = plane({ onAuth: (socket, ack) => (answer = () => letIn(socket, ack)) });
    await using agent = start(server.url, { pingInterval: milliseconds(20) });
    const request = codeOf(agent.session.request("agent.metrics", {}, Ack));
    await until("auth arrived", () => server.count("agent.auth") === 1);
    // Another agent of the same pace that is let in has sent signs of life meanwhile.
    await using open = plane();
    await using _another = start(open.url, { pingInterval: milliseconds(20) });
    await until("five pings of another", () => open.count("agent.ping") >= 5);
    expect(server.heard.map(({ event }) => event)).toEqual(["agent.auth"]);
    expect(agent.session.online()).toBe(false);
    expect(await request).toBe("realtime.offline");
    answer();
    await agent.becomes("online");
    expect(server.heard[0]?.body).toEqual({
      type: "agent.auth",
      ...identity,
      agentVersion: expect.stringMatching(/./) as string,
      platformVersion: "Test Linux 1",
      kernelVersion: "6.0",
      rootAccess: { appliedProfile: "off", lastError: null },
    });
  });

  test.each([
    ["only the ack", (_: unknown, ack: (a: unknown) => void) => ack({ authenticated: true, nodeId: "n" })],
    [
      "only the event",
      (socket: { emit(e: string, b: unknown): void }) =>
        socket.emit("agent.auth.ack", { authenticated: true, nodeId: "n" }),
    ],
  ] as const)("%s brings the session online", async (_, onAuth) => {
    await using server = plane({ onAuth: onAuth as never });
    await using agent = start(server.url);
    await agent.session.whenOnline(new AbortController().signal);
    expect(agent.session.state()).toMatchObject({ state: "online", failure: null, reconnects: 0, note: "" });
    expect(agent.auth.status()).toBe("ok");
  });

  test("a control plane below a path, with a path and a namespace of its own, is found", async () => {
    await using server = plane({ path: "/tools/noderax/rt/", namespace: "/nodes" });
    const own = { apiUrl: `${server.url}/tools/noderax/`, path: "/rt/", namespace: "/nodes" };
    await using agent = start(server.url, { endpoint: own });
    await agent.becomes("online");
    await until("checked", () => server.requests.some((line) => line.includes("polling")));
    expect(new Set(server.requests.map((line) => line.split("?")[0]?.split(" ")[1]))).toEqual(
      new Set(["/tools/noderax/rt/"]),
    );
  });

  test("events received before the ack are passed on after it", async () => {
    await using server = plane({
      onAuth(socket, ack) {
        socket.emit("terminal.start", { sessionId: "early" });
        letIn(socket, ack);
      },
    });
    const heard: unknown[] = [];
    await using agent = start(server.url);
    agent.session.on("terminal.start", (body) => heard.push(body, agent.session.online()));
    await until("heard", () => heard.length > 0);
    expect(heard).toEqual([{ sessionId: "early" }, true]);
  });
});

describe.concurrent("on the channel", () => {
  test("a request resolves with the ack, also with a refusal", async () => {
    await using server = plane({ onEvent: (event) => ({ ok: event === "a", message: "because" }) });
    await using agent = start(server.url);
    await agent.becomes("online");
    expect(await agent.session.request("a", { x: 1 }, Ack)).toMatchObject({ ok: true });
    expect(await agent.session.request("b", {}, Ack)).toMatchObject({ ok: false, message: "because" });
    expect(server.heard.find(({ event }) => event === "a")?.body).toEqual({ x: 1 });
  });

  test("a request that fails throws the code of its failure", async () => {
    await using server = plane({
      onEvent(event, _, socket) {
        if (event === "slow") return false;
        if (event === "fatal") socket.disconnect(true);
        return event === "odd" ? "yes" : { ok: true };
      },
    });
    await using agent = start(server.url, { requestTimeout: milliseconds(300) });
    await agent.becomes("online");
    const { session } = agent;
    expect(await codeOf(session.request("odd", {}, Ack))).toBe("realtime.answer");
    expect(await codeOf(session.request("slow", {}, Ack))).toBe("realtime.timeout");
    expect(await codeOf(session.request("big", { text: "ü".repeat(499_900) }, Ack))).toBe(
      "realtime.too_large",
    );
    expect(await session.request("almost", { text: "ü".repeat(499_000) }, Ack)).toMatchObject({ ok: true });
    expect(await codeOf(session.request("fatal", {}, Ack))).toBe("realtime.lost");
    await until("offline", () => !session.online());
    expect(await codeOf(session.request("late", {}, Ack))).toBe("realtime.offline");
    expect(server.count("big") + server.count("late")).toBe(0);
  });

  test("events of later sockets are passed on, and a listener that throws does not end the session", async () => {
    await using server = plane();
    await using agent = start(server.url);
    const heard: unknown[] = [];
    agent.session.on("terminal.input", () => {
      throw new Error("a bug");
    });
    agent.session.on("terminal.input", (body) => heard.push(body));
    for (let connection = 1; connection <= 3; connection++) {
      await agent.becomes("online");
      server.sockets()[0]?.emit("terminal.input", { connection });
      await until(`an event of connection ${connection}`, () => heard.length === connection);
      server.sockets()[0]?.conn.close();
      await until("lost", () => !agent.session.online());
    }
    expect(heard).toEqual([{ connection: 1 }, { connection: 2 }, { connection: 3 }]);
    expect(agent.log.lines.filter(({ level }) => level === "error").map(({ text }) => text)).toContain(
      "terminal.input: a bug",
    );
  });

  test("events that break the contract are ignored", async () => {
    await using server = plane();
    await using agent = start(server.url);
    await agent.becomes("online");
    const socket = server.sockets()[0];
    for (const event of ["root-access.updated", "agent.auth.ack", "agent.error", "nobody.knows", "__proto__"])
      for (const body of [undefined, null, 7, "x", [], {}, { rootAccess: { profile: 7 } }])
        socket?.emit(event, body);
    const pings = server.count("agent.ping");
    await until("it goes on", () => server.count("agent.ping") > pings + 1);
    expect(server.sockets()[0]?.id).toBe(socket?.id as string);
    expect(agent.rootAccess.desired).toEqual([]);
    expect(agent.log.lines.some(({ level }) => level === "error")).toBe(false);
  });

  test("waiting for it to be online ends with the signal, too", async () => {
    await using agent = start("http://127.0.0.1:1");
    const end = new AbortController();
    const waiting = agent.session.whenOnline(end.signal);
    end.abort();
    await waiting;
    expect(agent.session.online()).toBe(false);
  });
});

describe.concurrent("root access", () => {
  test("of the answer is applied, and reported at once", async () => {
    await using server = plane({
      onAuth: (socket, ack) => letIn(socket, ack, { profile: "task", updatedAt: "2026-01-01" }),
    });
    await using agent = start(server.url, { pingInterval: seconds(60) });
    await until("told", () => server.count("agent.auth") === 2);
    expect(server.heard.at(-1)?.body["rootAccess"]).toMatchObject({ appliedProfile: "task" });
    expect(agent.session.online()).toBe(true);
    for (let n = 0; n < 3; n++) await agent.session.request("agent.metrics", {}, Ack);
    expect(server.count("agent.auth")).toBe(2);
  });

  test("with an unknown profile from a newer server is passed on: it counts as off there", async () => {
    await using server = plane({
      onAuth: (socket, ack) => letIn(socket, ack, { profile: "god", updatedAt: "2026-01-01" }),
    });
    await using agent = start(server.url);
    await agent.becomes("online");
    expect(agent.rootAccess.desired[0]?.profile).toBe("god");
  });

  test("that is pushed is applied and reported on the same socket", async () => {
    await using server = plane();
    await using agent = start(server.url, { pingInterval: seconds(60) });
    await agent.becomes("online");
    server.sockets()[0]?.emit("root-access.updated", { rootAccess: { profile: "all", updatedAt: null } });
    await until("told", () => server.count("agent.auth") === 2);
    expect(server.heard.at(-1)?.body["rootAccess"]).toMatchObject({ appliedProfile: "all" });
    expect(agent.session.state().reconnects).toBe(0);
  });

  test("that a claim's answer brought is reported within a ping's time", async () => {
    await using server = plane();
    await using agent = start(server.url);
    await agent.becomes("online");
    agent.rootAccess.desire({ profile: "terminal", updatedAt: null });
    await until("told", () => server.count("agent.auth") === 2);
    expect(server.heard.findLast(({ event }) => event === "agent.auth")?.body["rootAccess"]).toMatchObject({
      appliedProfile: "terminal",
    });
  });

  test("that changes ten times while it is reported is reported once more, not ten times", async () => {
    let answers: (() => void)[] = [];
    await using server = plane({ onAuth: (socket, ack) => void answers.push(() => letIn(socket, ack)) });
    await using agent = start(server.url, { pingInterval: seconds(60) });
    const answer = (): void => answers.splice(0).forEach((give) => give());
    await until("the first", () => answers.length === 1);
    answer();
    await agent.becomes("online");
    for (let n = 1; n <= 10; n++)
      server.sockets()[0]?.emit("root-access.updated", { rootAccess: { profile: n % 2 ? "all" : "task" } });
    await until("the second", () => answers.length === 1);
    answer();
    await until("the third", () => answers.length === 1);
    answer();
    expect(await agent.session.request("behind it", {}, Ack)).toMatchObject({ ok: true });
    expect(server.count("agent.auth")).toBe(3);
  });
});

describe.concurrent("the session comes back", () => {
  test("when the network breaks, and logs loss and return once", async () => {
    await using server = plane();
    await using agent = start(server.url);
    await agent.becomes("online");
    server.sockets()[0]?.conn.close();
    await until("lost", () => !agent.session.online());
    await agent.becomes("online");
    expect(agent.session.state().reconnects).toBe(1);
    expect(await agent.session.request("x", {}, Ack)).toMatchObject({ ok: true });
    const lines = agent.log.lines.filter(({ level }) => level !== "debug").map(({ text }) => text);
    expect(lines).toEqual(["online", expect.stringMatching(/^lost: /) as string, "online again"]);
  });

  test("from a network that froze, long before the time of Engine.IO", async () => {
    await using server = plane();
    await using net = await network(server.port);
    await using agent = start(net.url, { requestTimeout: milliseconds(500) });
    await agent.becomes("online");
    net.freeze();
    // Engine.IO would notice after 45 s.
    await until("noticed", () => !agent.session.online());
    net.thaw();
    await until("back", () => agent.session.state().reconnects === 1);
    expect(agent.log.lines.map(({ text }) => text)).toContain("lost: nothing was received for 500ms");
  });

  test("from a server that stopped answering pings but still sends events", async () => {
    let deaf = false;
    await using server = plane({
      onEvent: (event) => (event === "agent.ping" && deaf ? false : { ok: true }),
    });
    await using agent = start(server.url, { requestTimeout: milliseconds(300) });
    await agent.becomes("online");
    deaf = true;
    const noise = setInterval(() => server.sockets()[0]?.emit("noise", {}), 20);
    await until("noticed", () => agent.log.lines.some(({ text }) => text.includes("two pings")));
    clearInterval(noise);
    deaf = false;
    await until("back", () => agent.session.state().reconnects === 1);
  });

  test("after a temporary refusal, which does not mark the identity as refused", async () => {
    let ill = true;
    await using server = plane({
      onAuth: (socket, ack) =>
        ill ? refuse(socket, "connect ECONNREFUSED 10.0.0.5:5432") : letIn(socket, ack),
    });
    await using agent = start(server.url);
    await until("refused", () => agent.session.state().failure === "auth error");
    expect(agent.auth.status()).toBe("unknown");
    await until("tried again", () => server.count("agent.auth") >= 3);
    expect(agent.log.lines.filter(({ text }) => text.startsWith("auth error"))).toHaveLength(1);
    ill = false;
    await agent.becomes("online");
    expect(agent.session.state().failure).toBeNull();
  });

  test.each([
    ["Invalid agent token", "refused"],
    ["Agent token is not configured for this node", "refused"],
    [`Node ${identity.nodeId} was not found`, "deleted"],
  ] as const)("after %p, marked as %s, at a slower pace", async (message, standing) => {
    let refused = true;
    await using server = plane({
      onAuth: (socket, ack) => (refused ? refuse(socket, message) : letIn(socket, ack)),
    });
    await using agent = start(server.url);
    await until("refused", () => agent.auth.status() === standing);
    await agent.becomes("waiting");
    expect(agent.session.state()).toMatchObject({ failure: "auth error" });
    expect(agent.session.state().note).toContain("enroll");
    expect(pauseOf(agent)).toBeGreaterThanOrEqual(seconds(5));
    refused = false;
    await until("it is let in later", () => agent.session.online());
    expect(agent.auth.status()).toBe("ok");
  });

  test("and is refused while online, by a token that was revoked", async () => {
    await using server = plane();
    await using agent = start(server.url);
    await agent.becomes("online");
    const [socket] = server.sockets();
    if (socket !== undefined) refuse(socket, "Invalid agent token");
    await until("refused", () => agent.auth.status() === "refused");
    expect(agent.session.state().failure).toBe("auth error");
  });

  test("a stop closes the socket, and the state says so", async () => {
    await using server = plane();
    const agent = start(server.url);
    await agent.becomes("online");
    await agent.stop();
    await until("gone", () => server.sockets().length === 0, seconds(2));
    expect(agent.session.state().state).toBe("stopped");
  });

  test("a stop ends a connection that nobody answers", async () => {
    await using server = plane();
    await using net = await network(server.port);
    net.freeze();
    const agent = start(net.url, { requestTimeout: seconds(15) });
    await agent.becomes("connecting");
    await until("it is connected", () => net.connections() > 0);
    const begun = performance.now();
    await agent.stop();
    expect(performance.now() - begun).toBeLessThan(seconds(8));
  });
});

describe.concurrent("signs of life", () => {
  test("agent.auth and accepted metrics keep the node online, pings and refused metrics do not", async () => {
    let ok = true;
    await using server = plane({ onEvent: () => ({ ok }) });
    await using agent = start(server.url);
    const { session } = agent;
    expect(session.keepsOnline(seconds(60))).toBe(false);
    await agent.becomes("online");
    expect(session.keepsOnline(seconds(5))).toBe(true);
    const pings = server.count("agent.ping");
    await until("pinged", () => server.count("agent.ping") > pings + 1);
    expect(session.keepsOnline(milliseconds(100))).toBe(false);
    ok = false;
    await session.request("agent.metrics", {}, v.unknown());
    expect(session.keepsOnline(milliseconds(100))).toBe(false);
    ok = true;
    await session.request("agent.metrics", {}, v.unknown());
    expect(session.keepsOnline(milliseconds(100))).toBe(true);
  });

  test("no token is ever logged", async () => {
    await using server = plane({ onAuth: (socket) => refuse(socket, "Bad Request Exception") });
    await using agent = start(server.url);
    await until("refused", () => agent.session.state().failure === "auth error");
    expect(JSON.stringify([agent.log.lines, agent.session.state(), agent.registry.all()])).not.toContain(
      identity.agentToken,
    );
  });
});

describe.concurrent("two agents of one identity", () => {
  test("log it once, and stop disconnecting each other every second", async () => {
    await using server = plane({
      onAuth(socket, ack) {
        for (const other of server.sockets()) if (other !== socket) other.disconnect(true);
        letIn(socket, ack);
      },
    });
    await using one = start(server.url, { random: () => 0 });
    await using two = start(server.url, { random: () => 0.3 });
    const errors = (agent: typeof one): string[] =>
      agent.log.lines.filter(({ level }) => level === "error").map(({ text }) => text);
    await until("one of them knows", () => errors(one).length + errors(two).length >= 1, seconds(25));
    const loser = errors(one).length > 0 ? one : two;
    expect(errors(loser)).toEqual([
      expect.stringMatching(/check whether another agent uses this identity .* or the server/) as string,
    ]);
    expect(loser.session.state().note).toContain("another agent");
    await loser.becomes("waiting");
    expect(pauseOf(loser)).toBeGreaterThanOrEqual(seconds(30));
  });
});

describe.concurrent("the pause before it comes back", () => {
  test("ends within a second when another call reaches the server, also after a refusal", async () => {
    let refused = true;
    await using server = plane({
      onAuth: (socket, answer) => (refused ? refuse(socket, "Invalid agent token") : letIn(socket, answer)),
    });
    const wake = new Wake();
    await using agent = start(server.url, { wake, random: () => 0.5 });
    await until("it pauses", () => pauseOf(agent) > seconds(5));
    refused = false;
    const begun = performance.now();
    wake.call();
    await agent.becomes("online");
    expect(performance.now() - begun).toBeLessThan(seconds(4));
  });

  test("is not cut short when the server ended the session", async () => {
    await using server = plane();
    const wake = new Wake();
    await using agent = start(server.url, { wake });
    await agent.becomes("online");
    server.sockets()[0]?.disconnect(true);
    await until("it pauses", () => pauseOf(agent) > milliseconds(900));
    const pause = pauseOf(agent);
    wake.call();
    await turn();
    expect(pauseOf(agent)).toBe(pause);
  });
});
