// Control planes over plain HTTP: what is said of them, and what gets no root over them.
import { expect, test } from "bun:test";
import { clearTextWarnings, repeatWarnings, tlsVeto } from "../../../src/agent/clear-text.ts";
import { hours } from "../../../src/lib/duration.ts";
import { LoopRegistry } from "../../../src/lib/loop.ts";
import { createLog } from "../../../src/platform/log.ts";
import { refusalOf } from "../../../src/terminal/refusal.ts";
import { stopClock } from "../../support/fake-time.ts";

const FAR = "http://user:secret@api.example.com:3001/base";

test.each([
  [FAR, true, true],
  [FAR, false, false],
  ["https://api.example.com", true, false],
  ["http://127.0.0.1:3001", true, false],
  [undefined, true, false],
])("over %s with require_tls %p root is refused: %p", (url, required, refused) => {
  expect(tlsVeto(url, required) !== undefined).toBe(refused);
});

test("the operator of a root terminal reads why it is refused", () => {
  const veto = tlsVeto(FAR, true);
  const rootAccess = { profile: () => "all" as const, refusal: () => veto };
  const quiet = { allowed: true, open: 0, limit: 8, stopping: false, rootAccess };
  expect(refusalOf({ ...quiet, asRoot: true })).toMatch(/^No root terminal: .*plain HTTP.*require_tls/);
  expect(refusalOf({ ...quiet, asRoot: false })).toBeUndefined();
});

test("each plane that is reached so is warned of by its setting, without what else stands in its address", () => {
  const both = { noderax: FAR, caravanserai: "http://10.0.0.5:8080" };
  const [noderax = "", caravanserai = "", ...more] = clearTextWarnings(both, { require_tls: false });
  expect(noderax).toStartWith("api_url http://api.example.com:3001: ");
  expect(noderax).toContain("require_tls=true would");
  expect(caravanserai).toStartWith("server_url http://10.0.0.5:8080: ");
  expect([noderax, caravanserai, ...more].join()).not.toContain("secret");
  expect(more).toEqual([]);
  expect(clearTextWarnings(both, { require_tls: true })[0]).toContain("require_tls refuses root tasks");
  const here = { noderax: "https://api.example.com", caravanserai: undefined };
  expect(clearTextWarnings(here, { require_tls: false })).toEqual([]);
});

test("the warnings are logged at the start, and again every day", async () => {
  using clock = stopClock();
  const lines: string[] = [];
  const log = createLog({ level: "info", format: "human", write: (line) => void lines.push(line) });
  const end = new AbortController();
  const done = repeatWarnings(["in the clear"], { registry: new LoopRegistry(), log }, end.signal);
  await clock.pass(hours(20));
  expect(lines).toHaveLength(1);
  await clock.pass(hours(8));
  expect(lines).toHaveLength(2);
  expect(lines[1]).toContain("in the clear");
  end.abort();
  await done;
});
