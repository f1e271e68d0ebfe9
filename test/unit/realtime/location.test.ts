// The location of a node on the realtime session: when it is sent, and what a refusal changes.
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  type LocationReport,
  createLocationReport,
  locationMigration,
} from "../../../src/identity/location/report.ts";
import { milliseconds, seconds } from "../../../src/lib/duration.ts";
import type { Location } from "../../../src/protocol/noderax/location.ts";
import { until } from "../../support/until.ts";
import { letIn, plane, refuse, start } from "./harness.ts";

setDefaultTimeout(150_000);

const BERLIN: Location = { provider: "manual", source: "manual", region: "Berlin" };
const API = "https://api.example.com";

function stateDatabase(): Database {
  const database = new Database(":memory:");
  database.run(locationMigration.sql);
  return database;
}

function report(database = stateDatabase(), location = BERLIN): LocationReport {
  const made = createLocationReport(database, API, () => {});
  made.found(location);
  return made;
}

const authsOf = (server: ReturnType<typeof plane>): boolean[] =>
  server.heard.filter(({ event }) => event === "agent.auth").map(({ body }) => "location" in body);

describe.concurrent("a location", () => {
  test("is sent once the session is authenticated, and once only, also after a reconnect", async () => {
    await using server = plane();
    const location = report();
    await using agent = start(server.url, {
      location,
      pingInterval: milliseconds(20),
      requestTimeout: seconds(30),
    });
    await until("it is accepted", () => location.status()?.state === "accepted");
    expect(authsOf(server)).toEqual([false, true]);
    expect(server.heard.findLast(({ event }) => event === "agent.auth")?.body["location"]).toEqual(BERLIN);
    for (const socket of server.sockets()) socket.disconnect(true);
    await until("it is back", () => agent.session.state().reconnects === 1);
    const pings = server.count("agent.ping");
    await until("pings go on", () => server.count("agent.ping") > pings + 2);
    expect(authsOf(server)).toEqual([false, true, false]);
  });

  test("that becomes known later, or changes, is sent then", async () => {
    await using server = plane();
    const location = createLocationReport(stateDatabase(), API, () => {});
    await using agent = start(server.url, {
      location,
      pingInterval: milliseconds(20),
      requestTimeout: seconds(30),
    });
    await agent.becomes("online");
    location.found(BERLIN);
    await until("it is accepted", () => location.status()?.state === "accepted");
    location.found({ ...BERLIN, region: "Potsdam" });
    await until("the new one is accepted", () => authsOf(server).filter(Boolean).length === 2);
  });

  test("that the server refuses costs one reconnect, and is never sent to it again, by the next process neither", async () => {
    await using server = plane({
      onAuth: (socket, answer) =>
        "location" in (server.heard.at(-1)?.body ?? {})
          ? refuse(socket, "Bad Request Exception")
          : letIn(socket, answer),
    });
    const database = stateDatabase();
    const location = report(database);
    await using agent = start(server.url, {
      location,
      pingInterval: milliseconds(20),
      requestTimeout: seconds(30),
    });
    await until("it is back", () => agent.session.state().reconnects === 1);
    expect(location.status()).toEqual({ location: BERLIN, state: "refused" });
    expect(agent.auth.status()).toBe("ok");
    expect(agent.log.lines.map(({ text }) => text).join("\n")).toContain(
      "does not take the location of a node",
    );
    const pings = server.count("agent.ping");
    await until("pings go on", () => server.count("agent.ping") > pings + 2);
    expect(authsOf(server)).toEqual([false, true, false]);
    expect(report(database).due()).toBeUndefined();
    expect(createLocationReport(database, "https://other.example.com", () => {}).status()).toBeUndefined();
  });

  test("on which sessions end without a reason is given up after two, until the next start", async () => {
    await using server = plane({
      onAuth: (socket, answer) =>
        "location" in (server.heard.at(-1)?.body ?? {}) ? socket.disconnect(true) : letIn(socket, answer),
    });
    const database = stateDatabase();
    const location = report(database);
    await using agent = start(server.url, {
      location,
      pingInterval: milliseconds(20),
      requestTimeout: seconds(30),
    });
    await until("it is given up", () => location.status()?.state === "refused");
    await agent.becomes("online");
    const pings = server.count("agent.ping");
    await until("pings go on", () => server.count("agent.ping") > pings + 2);
    expect(authsOf(server).filter(Boolean)).toHaveLength(2);
    expect(report(database).due()).toEqual(BERLIN);
  });
});
