// How a container ended: what Docker's events prove, and what of it is kept on disk.
import { expect, test } from "bun:test";
import { openDatabase } from "../../../../src/platform/database.ts";
import { endedByItself, endingQuery } from "../../../../src/projects/docker/ending.ts";
import { createEndedJobs, endedJobsMigration } from "../../../../src/projects/docker/ended-jobs.ts";

async function* events(...actions: (string | [string, string])[]): AsyncGenerator {
  for (const one of actions) {
    const [Action, signal = ""] = typeof one === "string" ? [one] : one;
    yield { Type: "container", Action, Actor: { ID: "a", Attributes: { signal } } };
  }
}

test.each([
  ["its end and nothing before", true, ["die"] as const],
  ["a reload and its end", true, [["kill", "1"], "die"] as const],
  ["a SIGTERM before its end", false, [["kill", "15"], "die"] as const],
  ["a signal without a number before its end", false, ["kill", "die"] as const],
  ["nothing, since the daemon was restarted", false, [] as const],
])("a container of which Docker tells %s has ended by itself: %p", async (_, byItself, told) => {
  expect(await endedByItself(events(...(told as readonly (string | [string, string])[])))).toBe(byItself);
});

test("Docker is asked in its own time, to a moment after the end", () => {
  const State = {
    Running: false,
    StartedAt: "2099-01-01T00:00:01.9Z",
    FinishedAt: "2099-01-01T00:00:05.1Z",
    ExitCode: 0,
    OOMKilled: false,
    Error: "",
  };
  const start = Date.parse("2099-01-01T00:00:01Z") / 1_000;
  expect(endingQuery("a", { State })).toMatchObject({ since: start, until: start + 6 });
});

test("a job that is done is known to the next agent for that end alone, and forgotten with its container", () => {
  const database = openDatabase(":memory:", [endedJobsMigration]);
  createEndedJobs(database).add("a", "2026-01-01T00:00:00.1Z");
  const next = createEndedJobs(database);
  expect(next.has("a", "2026-01-01T00:00:00.1Z")).toBe(true);
  expect(next.has("a", "2026-01-01T00:00:00.2Z")).toBe(false);
  next.keep(new Set(["b"]));
  expect(createEndedJobs(database).has("a", "2026-01-01T00:00:00.1Z")).toBe(false);
});
