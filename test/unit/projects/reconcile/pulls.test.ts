import { describe, expect, test } from "bun:test";
import { AgentError } from "../../../../src/lib/agent-error.ts";
import { wallFrom } from "../../../../src/lib/clock.ts";
import { days, hours, minutes, seconds } from "../../../../src/lib/duration.ts";
import { silent } from "../../../../src/platform/log.ts";
import { openDatabase } from "../../../../src/platform/database.ts";
import { type PullState, decideImage } from "../../../../src/projects/plan/images.ts";
import {
  type PullMemory,
  createPullMemory,
  pullMemoryMigration,
} from "../../../../src/projects/reconcile/pull-memory.ts";
import { pullFailure } from "../../../../src/projects/docker/errors.ts";
import { pullFailed } from "../../../../src/projects/plan/pull-retry.ts";
import { type Layers, progressText, takeLine } from "../../../../src/projects/docker/pull-progress.ts";
import { type Pulls, createPulls } from "../../../../src/projects/reconcile/pulls.ts";
import { turn } from "../../../support/until.ts";

interface Pulling {
  readonly image: string;
  readonly end: (error?: AgentError) => Promise<void>;
  readonly progress: (text: string) => void;
}

/** Pulls that end when the test says so, at a time that the test sets. */
function place(
  parallel = 2,
  { memory, clock = { now: 1_000_000 } }: { memory?: PullMemory; clock?: { now: number } } = {},
): {
  pulls: Pulls;
  pulling: Pulling[];
  clock: { now: number };
  changes: () => number;
} {
  const pulling: Pulling[] = [];
  let changes = 0;
  const pulls = createPulls({
    engine: {
      pull: (image, onProgress, _, signal) =>
        new Promise((resolve, reject) => {
          const end = async (error?: AgentError): Promise<void> => {
            pulling.splice(pulling.indexOf(one), 1);
            if (error === undefined) resolve();
            else reject(error);
            await turn();
          };
          const one = { image, end, progress: (text: string) => onProgress({ text }) };
          pulling.push(one);
          signal.addEventListener("abort", () => reject(new AgentError("aborted", "interrupted")));
        }),
    },
    parallel,
    idle: seconds(60),
    ...(memory && { memory }),
    log: silent,
    now: () => clock.now,
  });
  pulls.subscribe(() => changes++);
  return { pulls, pulling, clock, changes: () => changes };
}

const NGINX = "docker.io/library/nginx:latest";
const unauthorized = new AgentError("pull.unauthorized", "who are you", { hint: "log in" });

describe("pulls", () => {
  test("of one image under two names are one", async () => {
    const { pulls, pulling } = place();
    pulls.request("nginx");
    pulls.request("docker.io/library/nginx:latest");
    await turn();
    expect(pulling.map(({ image }) => image)).toEqual([NGINX]);
    pulling[0]?.progress("1 of 2 MB");
    expect(pulls.states().get(NGINX)).toEqual({ state: "pulling", progress: "1 of 2 MB" });
    await pulling[0]?.end();
    expect(pulls.states().get(NGINX)).toMatchObject({ state: "pulled" });
  });

  test("are no more at a time than allowed, and the others wait their turn", async () => {
    const { pulls, pulling } = place(2);
    for (const image of ["a", "b", "c"]) pulls.request(image);
    await turn();
    expect(pulling).toHaveLength(2);
    expect(pulls.states().get("docker.io/library/c:latest")).toEqual({
      state: "pulling",
      progress: "waiting for other pulls",
    });
    await pulling[0]?.end();
    expect(pulling.map(({ image }) => image)).toContain("docker.io/library/c:latest");
  });

  test("that failed wait longer and longer before the next try", async () => {
    const { pulls, pulling, clock } = place();
    for (const [attempt, pause] of [10, 20, 40, 80, 160, 300, 300].entries()) {
      pulls.request("nginx");
      await turn();
      await pulling[0]?.end(new AgentError("pull.failed", "no route"));
      const state = pulls.states().get(NGINX);
      expect(state).toMatchObject({
        state: "failed",
        attempts: attempt + 1,
        retryAt: clock.now + seconds(pause),
      });
      clock.now += seconds(pause) - 1;
      pulls.request("nginx");
      await turn();
      expect(pulling).toHaveLength(0);
      clock.now += 1;
    }
  });

  test("tell of what will not get better by itself, and what to do", async () => {
    const { pulls, pulling } = place();
    pulls.request("nginx");
    await turn();
    await pulling[0]?.end(unauthorized);
    expect(pulls.states().get(NGINX)).toMatchObject({ lasting: true, message: "who are you; log in" });
  });

  test("during which Docker went away are not held against the image", async () => {
    const { pulls, pulling, changes } = place();
    pulls.request("nginx");
    await turn();
    const before = changes();
    await pulling[0]?.end(new AgentError("docker.away", "gone"));
    expect(pulls.states().get(NGINX)).toMatchObject({ attempts: 0, lasting: false });
    expect(changes()).toBe(before + 1);
  });

  test("are not asked for at once again when Docker comes and goes, and still no failure of the image", async () => {
    const { pulls, pulling, clock } = place();
    for (const pause of [2, 4, 8, 16]) {
      pulls.request("nginx");
      await turn();
      await pulling[0]?.end(new AgentError("docker.away", "gone"));
      clock.now += seconds(pause) - 1;
      pulls.request("nginx");
      await turn();
      expect(pulling).toHaveLength(0);
      expect(
        decideImage("nginx", { present: new Set(), pulls: pulls.states() }, "always", clock.now),
      ).toMatchObject({ image: "wait" });
      clock.now += 1;
    }
    pulls.request("nginx");
    await turn();
    await pulling[0]?.end(new AgentError("pull.failed", "no route"));
    expect(pulls.states().get(NGINX)).toMatchObject({ attempts: 1 });
  });

  test("that failed are known to the next life, which waits half a minute at most", async () => {
    const database = openDatabase(":memory:", [pullMemoryMigration]);
    const clock = { now: 1_000_000_000 };
    const memory = (): PullMemory =>
      createPullMemory(
        database,
        () => clock.now,
        () => wallFrom(clock.now),
      );
    const first = place(2, { memory: memory(), clock });
    for (let n = 0; n < 6; n++) {
      first.pulls.request("nginx");
      await turn();
      await first.pulling[0]?.end(new AgentError("pull.failed", "no route"));
      clock.now += minutes(5);
    }
    clock.now -= minutes(5);
    const second = place(2, { memory: memory(), clock });
    expect(second.pulls.states().get(NGINX)).toMatchObject({ attempts: 6, message: "no route" });
    second.pulls.request("nginx");
    await turn();
    expect(second.pulling).toHaveLength(0);
    clock.now += seconds(30);
    second.pulls.request("nginx");
    await turn();
    await second.pulling[0]?.end();
    expect(place(2, { memory: memory(), clock }).pulls.states().size).toBe(0);
  });

  test("that failed are waited for half a minute at most, and no longer after the wall clock was set back", () => {
    const database = openDatabase(":memory:", [pullMemoryMigration]);
    const failed = {
      state: "failed",
      message: "no",
      attempts: 3,
      retryAt: seconds(40),
      lasting: false,
    } as const;
    const at = (now: number, wall: number): PullMemory =>
      createPullMemory(
        database,
        () => now,
        () => wallFrom(wall),
      );
    at(0, hours(5)).failed(NGINX, failed);
    expect(
      at(7, hours(5) - minutes(30))
        .recall()
        .get(NGINX)?.retryAt,
    ).toBe(7 + seconds(30));
    expect(
      at(7, hours(5) + seconds(20))
        .recall()
        .get(NGINX)?.retryAt,
    ).toBe(7 + seconds(20));
  });

  test("that failed are forgotten after a day", () => {
    const database = openDatabase(":memory:", [pullMemoryMigration]);
    const failed = { state: "failed", message: "no", attempts: 1, retryAt: days(2), lasting: true } as const;
    const at = (now: number): PullMemory =>
      createPullMemory(
        database,
        () => now,
        () => wallFrom(now),
      );
    at(0).failed(NGINX, failed);
    expect(at(days(3) - 1).recall().size).toBe(1);
    expect(at(days(3) + 1).recall().size).toBe(0);
    expect(database.query("SELECT * FROM pull_failure").all()).toEqual([]);
  });

  test("that nobody asks for any more are forgotten", async () => {
    const { pulls, pulling, clock } = place();
    pulls.request("nginx");
    await turn();
    await pulling[0]?.end();
    clock.now += minutes(61);
    pulls.request("other");
    expect([...pulls.states().keys()]).toEqual(["docker.io/library/other:latest"]);
  });

  test("are remembered of a thousand images and no more", async () => {
    const { pulls, pulling } = place(2_000);
    for (let n = 0; n < 1_500; n++) {
      pulls.request(`app:${n}`);
      await pulling[0]?.end();
    }
    expect(pulls.states().size).toBeLessThanOrEqual(1_001);
    expect(pulls.states().has("docker.io/library/app:1499")).toBe(true);
  });

  test("on their way and in the queue are given up at the end", async () => {
    const { pulls, pulling } = place(1);
    pulls.request("a");
    pulls.request("b");
    await turn();
    await pulls.close();
    expect(pulling).toHaveLength(1);
    pulls.request("c");
    expect(pulls.states().has("docker.io/library/c:latest")).toBe(false);
  });
});

test.each([
  ["manifest for localhost:5000/x:nope not found: manifest unknown: manifest unknown", "pull.unknown"],
  ["name unknown: repository name not known to registry", "pull.unknown"],
  ["no matching manifest for linux/arm64/v8 in the manifest list entries", "pull.unknown"],
  ["invalid reference format: repository name must be lowercase", "pull.unknown"],
  ["Get https://r.example.com/v2/: unauthorized: authentication required", "pull.unauthorized"],
  ["Get https://r.example.com/v2/x: no basic auth credentials", "pull.unauthorized"],
  [
    "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
    "pull.unauthorized",
  ],
  ["toomanyrequests: You have reached your unauthenticated pull rate limit", "pull.failed"],
  ["Get https://r.example.com/v2/: dial tcp: lookup r.example.com: no such host", "pull.failed"],
  ["Get https://r.example.com/v2/: net/http: TLS handshake timeout", "pull.failed"],
  ["failed to register layer: write /a: no space left on device", "docker.full"],
  ["filesystem layer verification failed for digest sha256:aa", "pull.failed"],
] as const)("%p is %s", (words, code) => {
  expect(pullFailure(words, "log in").code).toBe(code);
});

test("a pull after one that succeeded counts from the beginning", () => {
  const before: PullState = { state: "pulled", at: 1 };
  expect(pullFailed(before, new AgentError("pull.failed", "no"), 5)).toMatchObject({
    attempts: 1,
    lasting: false,
  });
});

describe("the progress of a pull", () => {
  const after = (...lines: unknown[]): { layers: Layers; errors: (string | undefined)[] } => {
    const layers: Layers = new Map();
    return { layers, errors: lines.map((line) => takeLine(layers, line)) };
  };
  const downloading = (id: string, current: number, total: number): unknown => {
    return { status: "Downloading", id, progressDetail: { current, total } };
  };

  test("is the sum of the layers, the finished ones included", () => {
    const { layers } = after(
      { status: "Pulling from library/nginx", id: "1" },
      { status: "Pulling fs layer", id: "a", progressDetail: {} },
      { status: "Already exists", id: "c" },
      downloading("a", 10e6, 30e6),
      { status: "Download complete", id: "a", progressDetail: {} },
      downloading("b", 2e6, 10e6),
    );
    expect(progressText(layers)).toBe("32 of 40 MB");
  });

  test("is extraction when all is there", () => {
    const { layers } = after(downloading("a", 1, 2), {
      status: "Extracting",
      id: "a",
      progressDetail: { current: 1 },
    });
    expect(progressText(layers)).toBe("extracting");
  });

  test("takes errors in either form, and no harm from what it does not know", () => {
    expect(
      after({ errorDetail: { message: "long" }, error: "short" }, { error: "short" }, 7, null, {}).errors,
    ).toEqual(["long", "short", undefined, undefined, undefined]);
  });

  test("does not grow with a stream that names ever new layers", () => {
    const { layers } = after(...Array.from({ length: 3_000 }, (_, n) => downloading(`l${n}`, 1, 2)));
    expect(layers.size).toBe(1_000);
  });
});
