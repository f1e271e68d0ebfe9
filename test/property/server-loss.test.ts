// Whatever a server loses, restores, moves and deletes: nothing here goes without proof, and no data without Terminating.
import { expect, setDefaultTimeout, test } from "bun:test";
import * as fc from "fast-check";
import { seconds } from "../../src/lib/duration.ts";
import { openDatabase } from "../../src/platform/database.ts";
import { WorldEngine } from "../support/world-engine.ts";
import {
  MIGRATIONS,
  Server,
  emptyStore,
  runProjects,
  spec,
  stateIn,
  until,
} from "../unit/projects/harness.ts";

setDefaultTimeout(seconds(120));

const NAMES = ["a", "b"] as const;
const name = fc.constantFrom(...NAMES);
const event = fc.oneof(
  fc.record({ do: fc.constantFrom("lose all", "lose all, registered by another", "restart") }),
  fc.record({ do: fc.constantFrom("delete", "terminate", "move", "leave unplaced", "put"), name }),
);
type Event = typeof event extends fc.Arbitrary<infer E> ? E : never;

/** What the server has proven about a project since it was put last. */
interface Proofs {
  containers: boolean;
  data: boolean;
}

class World {
  readonly engine = new WorldEngine();
  readonly server = new Server();
  readonly proofs = new Map<string, Proofs>();
  readonly #database = openDatabase(":memory:", MIGRATIONS);
  readonly #store = emptyStore();
  #registrations = 0;
  #run = this.#start();

  #start(): ReturnType<typeof runProjects> {
    const state = stateIn(this.#database);
    if (this.server.registered !== undefined) state.continuity.registeredAt(this.server.registered);
    return runProjects(this.engine, this.server, { state, store: this.#store });
  }

  async act(event: Event): Promise<void> {
    const { server, proofs } = this;
    const known = "name" in event && server.projects_.has(event.name);
    switch (event.do) {
      case "restart":
        await this.#run.crash();
        this.#run = this.#start();
        break;
      case "lose all":
        server.losesAll();
        break;
      case "lose all, registered by another":
        server.losesAll(`again ${++this.#registrations}`);
        break;
      case "put":
        if (!("name" in event)) break;
        server.registered ??= `again ${++this.#registrations}`;
        server.put(event.name);
        proofs.set(event.name, { containers: false, data: false });
        await until("it runs", () => server.phase(event.name) === "Running");
        break;
      default:
        if ("name" in event && known) this.#end(event.do, event.name);
    }
    // Far more than two answers and the grace take.
    const polls = server.polls;
    await until("the server was asked ten times", () => server.polls >= polls + 10);
  }

  #end(how: string, name: string): void {
    const { server, proofs } = this;
    const before = proofs.get(name) ?? { containers: false, data: false };
    if (how === "delete") server.projects_.delete(name);
    else if (how === "terminate") server.put(name, "Terminating");
    else server.put(name, "Running", spec(), how === "move" ? "elsewhere" : "");
    const isProof = how !== "leave unplaced";
    proofs.set(name, { containers: before.containers || isProof, data: before.data || how === "terminate" });
  }

  /** The projects that have lost something they must not lose. */
  losses(): string[] {
    return [...this.proofs].flatMap(([name, { containers, data }]) => {
      const world = this.engine.world(name);
      const running = [...world.containers.values()].some(({ state }) => state === "running");
      return [
        ...(containers || running ? [] : [`containers of ${name}`]),
        ...(data || world.volumes.size > 0 ? [] : [`data of ${name}`]),
      ];
    });
  }

  [Symbol.asyncDispose] = (): Promise<void> => this.#run.crash();
}

test("no container goes without proof that the project is not ours, and no volume without Terminating", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 3, maxLength: 7 }), async (events) => {
      await using world = new World();
      for (const name of NAMES) await world.act({ do: "put", name });
      for (const event of events) {
        await world.act(event);
        expect(world.losses()).toEqual([]);
      }
    }),
    { numRuns: Number(process.env["FC_RUNS"] ?? 4) },
  );
});
