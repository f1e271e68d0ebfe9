// Promises of the watcher's decisions: whatever is killed, and whenever, the node ends with a version that works.
import { describe, expect, test } from "bun:test";
import { array, assert, constantFrom, nat, property, record } from "fast-check";
import { seconds } from "../../src/lib/duration.ts";
import {
  type Seen,
  type WatchMemory,
  type Which,
  beginWatch,
  nextAct,
  observeUpdate,
} from "../../src/install/update/next.ts";
import type { UpdateOutcome, UpdatePhase } from "../../src/install/update/state.ts";

/** How the new version behaves. */
type Behaviour = "works" | "offline" | "exits" | "fails" | "hangs" | "exits late";

/** A machine: what is on its disk, what its service runs, what its watcher remembers. */
class World {
  now = 0;
  /** On the disk. */
  phase: UpdatePhase = "ready";
  outcome: UpdateOutcome | undefined;
  program: Which = "old";
  candidate = true;
  note = "";
  /** In memory. */
  watch: WatchMemory | undefined;
  active = "active";
  runs: Which = "old";
  pid = 1;
  started = 0;
  restarts = 0;

  constructor(readonly behaviour: Behaviour) {}

  /** Time passes: a service that ends is started again, as systemd does. */
  passes(time: number): void {
    this.now += time;
    if (this.runs !== "new" || this.active === "failed") return;
    const age = this.now - this.started;
    if (this.behaviour === "fails") {
      this.active = "failed";
      this.runs = "none";
    }
    const isEnded =
      (this.behaviour === "exits" && age > 100) || (this.behaviour === "exits late" && age > seconds(20));
    if (isEnded) {
      this.restarts++;
      this.start();
    }
  }

  start(): void {
    this.active = "active";
    this.runs = this.program;
    this.pid++;
    this.started = this.now;
  }

  boots(): void {
    this.watch = undefined;
    this.restarts = 0;
    this.start();
  }

  answers(): Seen["answer"] {
    if (this.runs === "old") return { version: "1", pid: this.pid, missing: undefined };
    if (this.runs !== "new" || this.behaviour === "hangs" || this.behaviour === "exits") return undefined;
    return {
      version: "2",
      pid: this.pid,
      missing: this.behaviour === "offline" ? "the network is away" : undefined,
    };
  }

  /** One round of the watcher; `dies` after its act, before it could record or remember anything. */
  looks(dies: boolean): void {
    const seen: Seen = {
      program: this.program,
      candidate: this.candidate,
      kept: true,
      service: { active: this.active, runs: this.runs, restarts: this.restarts, end: "ended" },
      answer: this.answers(),
    };
    this.watch = observeUpdate(this.watch ?? beginWatch(this.now, this.restarts, false), seen, "2", this.now);
    const act = nextAct(this.phase, seen, this.watch, this.now);
    if (act.do === "switch") {
      this.program = "new";
      this.candidate = false;
    } else if (act.do === "restore") this.program = "old";
    else if (act.do === "restart") {
      this.restarts = 0;
      this.start();
      this.watch = beginWatch(this.now, 0, true);
    } else if (act.do === "record") {
      this.phase = act.phase;
      if (act.phase === "rolling back") this.watch = beginWatch(this.now, this.restarts, false);
    } else if (act.do === "wait") this.note = act.note;
    else if (act.do === "finish") {
      this.phase = "over";
      this.outcome = act.outcome;
    }
    if (dies) this.watch = undefined;
  }
}

type Blow = "watcher" | "agent" | "power";
const behaviours: readonly Behaviour[] = ["works", "offline", "exits", "fails", "hangs", "exits late"];

describe("an update that is killed anywhere", () => {
  test("ends, with the new version where it works, and with the old one where it does not", () => {
    assert(
      property(
        constantFrom(...behaviours),
        array(record({ at: nat(60), blow: constantFrom<Blow>("watcher", "agent", "power") }), {
          maxLength: 6,
        }),
        (behaviour, blows) => {
          const world = new World(behaviour);
          for (let round = 0; round < 3_000 && world.phase !== "over"; round++) {
            const blow = blows.find(({ at }) => at === round)?.blow;
            world.looks(blow === "watcher");
            // At no moment is there no program to boot.
            expect(world.program).not.toBe("none");
            if (blow === "power") world.boots();
            if (blow === "agent") world.start();
            world.passes(500);
          }
          const isGood = behaviour === "works" || behaviour === "offline";
          expect({ phase: world.phase, program: world.program, runs: world.runs }).toEqual({
            phase: "over",
            program: isGood ? "new" : "old",
            runs: isGood ? "new" : "old",
          });
          if (behaviour === "works") expect(world.outcome).toBe("confirmed");
          if (behaviour === "offline") expect(world.outcome).toBe("unproven");
          if (!isGood) expect(world.outcome).toBe("rolled back");
        },
      ),
      { numRuns: 400 },
    );
  });

  test("goes back within 30 s from one that exits or does not start, and within 90 s from one that hangs", () => {
    for (const [behaviour, limit] of [
      ["exits", 30],
      ["fails", 30],
      ["hangs", 90],
    ] as const) {
      const world = new World(behaviour);
      while (world.phase !== "over" && world.now < seconds(200)) {
        world.looks(false);
        world.passes(500);
      }
      expect(world.outcome).toBe("rolled back");
      expect(world.now).toBeLessThanOrEqual(seconds(limit));
    }
  });

  test("waits while the service is stopped, starts nothing, and goes on when it is started", () => {
    for (const phase of ["switched", "watching"] as const) {
      const world = new World("works");
      while (world.phase !== phase) world.looks(false);
      world.active = "inactive";
      world.runs = "none";
      // Another watcher, as after a boot: this one remembers nothing.
      world.watch = undefined;
      for (let round = 0; round < 1_000; round++) {
        world.looks(false);
        world.passes(500);
      }
      expect([world.phase, world.active]).toEqual([phase, "inactive"]);
      expect(world.note).toContain("the service is stopped");
      world.start();
      for (let round = 0; round < 200 && world.outcome === undefined; round++) {
        world.looks(false);
        world.passes(500);
      }
      expect(world.outcome).toBe("confirmed");
    }
  });

  test("leaves alone what somebody else has installed meanwhile", () => {
    for (const phase of ["ready", "switched", "watching", "rolling back"] as const) {
      const world = new World("works");
      world.phase = phase;
      world.program = "other";
      world.looks(false);
      expect([world.outcome, world.program]).toEqual(["superseded", "other"]);
    }
  });
});
