// Logs over the agent's HTTP server: what is answered, and that clients who go or do not read cost nothing.
import { expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "node:net";
import { AgentError } from "../../src/lib/agent-error.ts";
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import { open, problemOf, rawRequest, startTestListener } from "../support/listener.ts";
import { settled, until } from "../support/until.ts";

setDefaultTimeout(150_000);

const LOGS = "/api/v1/logs/shop/web";

test("come as plain text, with the query as it was asked", async () => {
  await using place = await startTestListener();
  const answer = await place.get(`${LOGS}?tail=5&timestamps=true&since=1700000000`);
  expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
  expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
  expect(await answer.text()).toBe("one\ntwo\n");
  expect(place.containers.queries).toEqual([
    { follow: false, tail: 5, timestamps: true, since: 1_700_000_000 },
  ]);
  await until("nothing is read any more", () => place.listener.status().logs === 0);
});

test("400, 404, 409 and 503 are distinguished", async () => {
  await using place = await startTestListener();
  const ask = async (path: string) => problemOf(await place.get(path));
  expect(await ask(`${LOGS}?tail=x`)).toMatchObject({
    status: 400,
    detail: expect.stringContaining("tail"),
  });
  expect((await ask("/api/v1/logs/shop/none")).status).toBe(404);
  expect((await ask("/api/v1/logs/shop/job?follow=true")).status).toBe(409);
  expect((await place.get("/api/v1/logs/shop/job")).status).toBe(200);
  place.containers.failure = new AgentError("docker.away", "Docker does not answer");
  expect(await ask(LOGS)).toMatchObject({ status: 503, detail: "Docker does not answer" });
  await until("nothing is counted any more", () => place.listener.status().logs === 0);
});

test("a failure of ours is a 500 that tells nothing, and is in the log", async () => {
  await using place = await startTestListener();
  place.containers.failure = new Error("secret path /root/x");
  const { status, detail } = await problemOf(await place.get(LOGS));
  expect(status).toBe(500);
  expect(detail).not.toContain("secret");
  expect(place.lines.join()).toContain("secret path");
  expect((await place.get("/healthz")).status).toBe(200);
});

test("a followed one is streamed at once, and closed when the client disconnects", async () => {
  await using place = await startTestListener();
  const socket = open(place.port, `GET ${LOGS}?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await until("two lines", () => socket.heard().includes("two"));
  expect(place.containers.reading).toBe(1);
  socket.destroy();
  await until("Docker's stream is closed", () => place.containers.reading === 0);
  expect(place.listener.status().logs).toBe(0);
});

test("one that is followed and silent outlives a connection on which nothing is asked", async () => {
  await using place = await startTestListener();
  const { promise: later, resolve: speak } = Promise.withResolvers<void>();
  place.containers.logs = async () =>
    (async function* () {
      yield Buffer.from("early\n");
      await later;
      yield Buffer.from("late\n");
    })();
  const followed = open(place.port, `GET ${LOGS}?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await until("the early line", () => followed.heard().includes("early"));
  const idle = open(place.port, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await until("an answer", () => idle.heard().includes("OK"));
  await until("the idle one is closed", () => idle.isClosed(), seconds(50));
  expect(followed.isClosed()).toBe(false);
  speak();
  await until("the late line", () => followed.heard().includes("late"));
});

test("a client that disconnects before Docker answers is no error, and leaves nothing open", async () => {
  await using place = await startTestListener();
  const { promise: thought, resolve: answer } = Promise.withResolvers<undefined>();
  let asked = 0;
  place.containers.findService = () => (asked++, thought);
  const socket = open(place.port, `GET ${LOGS} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await until("it is asked", () => asked === 1);
  socket.destroy();
  await until("it is left", () => place.listener.status().logs === 0);
  answer(undefined);
  expect((await place.get("/healthz")).status).toBe(200);
  expect(place.lines.filter((line) => line.includes('"error"'))).toEqual([]);
});

test("a client that does not read is not read for", async () => {
  await using place = await startTestListener();
  place.containers.log = function* () {
    for (;;) yield Buffer.alloc(64 * 1_024, "x");
  };
  const socket = connect(place.port, "127.0.0.1");
  socket.pause();
  socket.write(`GET ${LOGS} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const taken = await settled(() => place.containers.taken);
  // What lies in the sockets of both sides, of the 64 MB that are to be had.
  expect(taken).toBeLessThan(48 * 1_024 * 1_024);
  socket.destroy();
  await until("Docker's stream is closed", () => place.containers.reading === 0);
});

test("a client that does not read is given up in the end", async () => {
  await using place = await startTestListener({ tunnel_idle_limit: milliseconds(300) });
  place.containers.log = function* () {
    for (;;) yield Buffer.alloc(64 * 1_024, "x");
  };
  const socket = connect(place.port, "127.0.0.1");
  socket.pause();
  socket.write(`GET ${LOGS} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await until("a log is read", () => place.containers.reading === 1);
  await until("it is not any more", () => place.containers.reading === 0, seconds(20));
  socket.destroy();
});

test("one that breaks off on Docker's side is seen to be cut", async () => {
  await using place = await startTestListener();
  place.containers.log = function* () {
    yield "one\n";
    throw new Error("ECONNRESET");
  };
  const answer = await rawRequest(place.port, `GET ${LOGS} HTTP/1.1\r\nHost: localhost\r\n\r\n`, seconds(5));
  expect(answer).not.toEndWith("0\r\n\r\n");
  await until("nothing is counted any more", () => place.listener.status().logs === 0);
});

test("more than so many at once are refused, and one that ends makes room", async () => {
  await using place = await startTestListener({}, { logsLimit: 2 });
  const request = `GET ${LOGS}?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  const sockets = [open(place.port, request), open(place.port, request)];
  await until("both are read", () => place.containers.reading === 2);
  expect((await problemOf(await place.get(LOGS))).status).toBe(503);
  sockets[0]?.destroy();
  await until("one is left", () => place.containers.reading === 1);
  expect((await place.get(LOGS)).status).toBe(200);
  sockets[1]?.destroy();
});

test("a stop ends what is followed, and is over soon", async () => {
  const place = await startTestListener();
  const socket = open(place.port, `GET ${LOGS}?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await until("it is read", () => place.containers.reading === 1);
  const idle = open(place.port, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await until("an answer", () => idle.heard().includes("OK"));
  await place.stop();
  expect(place.containers.reading).toBe(0);
  await until("both connections are closed", () => socket.isClosed() && idle.isClosed());
  expect(place.listener.port()).toBeUndefined();
});
