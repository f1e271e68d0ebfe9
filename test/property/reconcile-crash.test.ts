// An agent that dies between any two steps: the next life brings about what the server wants, and nothing is done twice at once.
import { expect, setDefaultTimeout, test } from "bun:test";
import * as fc from "fast-check";
import type { Database } from "bun:sqlite";
import { seconds } from "../../src/lib/duration.ts";
import { openDatabase } from "../../src/platform/database.ts";
import { WorldEngine } from "../support/world-engine.ts";
import {
  MIGRATIONS,
  Server,
  emptyStore,
  runProjects,
  service,
  spec,
  stateIn,
  until,
} from "../unit/projects/harness.ts";

setDefaultTimeout(seconds(120));

const RUNS = { numRuns: Number(process.env["FC_RUNS"] ?? 8) };

/** Lives that each die at the given step of their own, before or after it was done; then one that lives on. */
async function lives(
  engine: WorldEngine,
  server: Server,
  database: Database,
  deaths: readonly { readonly step: number; readonly when: "before" | "after" }[],
  done: () => boolean,
): Promise<void> {
  const store = emptyStore();
  for (const { step, when } of deaths) {
    const run = runProjects(engine, server, { store, state: stateIn(database) });
    let steps = 0;
    let dead: Promise<void> | undefined;
    engine.onStep = (_, at) => {
      if (at === when && ++steps === step) dead ??= run.crash();
    };
    await until("it died, or had nothing left to do", () => dead !== undefined || done());
    engine.onStep = () => {};
    await (dead ?? run.crash());
  }
  await using _run = runProjects(engine, server, { store, state: stateIn(database) });
  await until("it has converged", done);
}

const deaths = fc.array(
  fc.record({ step: fc.integer({ min: 1, max: 12 }), when: fc.constantFrom("before", "after") }),
  { minLength: 1, maxLength: 3 },
);
const image = fc.constantFrom("web:1", "web:2", "db:1");

test("coming up, being changed and going away survive a death at any step", async () => {
  await fc.assert(
    fc.asyncProperty(image, image, image, deaths, deaths, deaths, async (a, b, c, first, second, third) => {
      const [engine, server] = [new WorldEngine(), new Server()];
      const database = openDatabase(":memory:", MIGRATIONS);
      const settled = (): boolean =>
        server.phase("shop") === "Running" && engine.running("shop").join() === "shop-db,shop-web";
      server.put("shop", "Scheduled", spec(service("web", a), service("db", b)));
      await lives(engine, server, database, first, settled);
      // Another image for one of them: the volumes stay.
      server.put("shop", "Scheduled", spec(service("web", c), service("db", b)));
      const wanted = (): boolean =>
        settled() &&
        [...engine.world("shop").containers.values()].every(
          (one) => one.image === (one.service === "web" ? c : b),
        ) &&
        engine.world("shop").containers.size === 2;
      await lives(engine, server, database, second, wanted);
      expect(engine.done.filter((text) => /removeVolume|removeNetwork/.test(text))).toEqual([]);
      server.put("shop", "Terminating");
      await lives(engine, server, database, third, () => server.phase("shop") === "Terminated");
      expect(engine.isEmpty("shop")).toBe(true);
      expect(engine.clashes).toEqual([]);
    }),
    RUNS,
  );
});
