// A kind of task is a definition alone: the driver makes its log, its completion, its recovery and its end of it.
import { noUpdates } from "../../support/task.ts";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import { createSlots } from "../../../src/lib/slots.ts";
import type { TaskApi } from "../../../src/control/noderax-api.ts";
import { createServerClock } from "../../../src/control/server-clock.ts";
import {
  type Runner,
  currentAccount,
  findAccount,
  isRoot,
  runnerFor,
} from "../../../src/platform/account.ts";
import { silent } from "../../../src/platform/log.ts";
import { holdDirectory } from "../../../src/platform/private-directory.ts";
import { ROOT_PROFILES, type RootProfile, allows } from "../../../src/protocol/noderax/root-access.ts";
import type { CompletedRequest } from "../../../src/protocol/noderax/tasks.ts";
import type { DrivePorts } from "../../../src/tasks/context.ts";
import { type Prepared, type TaskKind, defineKind } from "../../../src/tasks/kinds/kind.ts";
import { type Tasks, createTasks } from "../../../src/tasks/tasks.ts";
import { createTurns } from "../../../src/tasks/turns.ts";
import { until } from "../../support/until.ts";
import { type Store, openStore, scratchDirectory } from "./scratch.ts";

let scratch: ReturnType<typeof scratchDirectory>;
let store: Store;
let server: FakeServer;
let profile: RootProfile;
const processes: AbortController[] = [];

beforeEach(() => {
  scratch = scratchDirectory();
  store = openStore();
  server = new FakeServer();
  profile = "all";
});
afterEach(() => {
  for (const process of processes.splice(0)) process.abort();
  store[Symbol.dispose]();
  scratch[Symbol.dispose]();
});

/** A control plane that takes everything. */
class FakeServer {
  readonly rows: string[] = [];
  readonly completions = new Map<string, CompletedRequest>();
  readonly cancelled = new Set<string>();

  api(): TaskApi {
    const task = (id: string) => ({ id, type: "t", status: "running" });
    return {
      serverClock: createServerClock(),
      claim: () => Promise.reject(new Error("no claims here")),
      started: ({ taskId }) => Promise.resolve(task(taskId)),
      log: ({ line }) => {
        this.rows.push(line);
        return Promise.resolve({ id: "1" });
      },
      completed: (body) => {
        this.completions.set(body.taskId, body);
        return Promise.resolve(task(body.taskId));
      },
      control: (taskId) =>
        Promise.resolve({
          taskId,
          status: this.completions.get(taskId)?.status ?? "running",
          cancelRequested: this.cancelled.has(taskId),
        }),
    };
  }

  async completion(id: string): Promise<CompletedRequest> {
    await until(`the completion of ${id}`, () => this.completions.has(id));
    const completion = this.completions.get(id);
    if (completion === undefined) throw new Error("unreachable");
    return completion;
  }
}

interface Agent {
  readonly tasks: Tasks;
  readonly ports: DrivePorts;
  runs(id: string, type: string, payload?: Record<string, unknown>): void;
  /** Ends the drivers, as the end of the process does; commands go on. */
  stops(): Promise<void>;
}

/** A process of an agent that knows these kinds, with the state of those before it. */
function agentWith(...kinds: TaskKind[]): Agent {
  return agentAs(runnerFor(currentAccount()), ...kinds);
}

function agentAs(task: Runner, ...kinds: TaskKind[]): Agent {
  const process = new AbortController();
  processes.push(process);
  const runs = join(scratch.path, "runs");
  const ports: DrivePorts = {
    kinds,
    journal: store.journal,
    outbox: store.outbox,
    api: server.api(),
    slots: createSlots(8),
    workSlots: createSlots(8),
    turns: createTurns(),
    rootAccess: {
      desire() {},
      onChange() {},
      profile: () => profile,
      refusal: () => undefined,
      report: () => ({}),
    },
    log: silent,
    disk: { check() {}, watch() {}, shortage: () => undefined },
    service: undefined,
    runs,
    held: holdDirectory(runs),
    runners: { root: runnerFor(currentAccount()), task },
    view: () => Promise.resolve("shared"),
    openFiles: undefined,
    settings: {
      task_timeout: minutes(1),
      ...noUpdates,
      task_kill_grace: seconds(1),
      task_output_limit: 1_000_000,
      task_memory_max: undefined,
      task_cpu_quota: undefined,
      task_pids_max: 2_048,
      task_nice: 0,
      task_io_weight: 100,
      allow_tasks: true,
      allow_packages: true,
      allow_log_scan: true,
    },
  };
  const tasks = createTasks(ports, process.signal);
  tasks.resume();
  return {
    tasks,
    ports,
    runs: (id, type, payload = {}) => tasks.accept({ id, type, status: "accepted", payload }),
    async stops() {
      process.abort();
      await tasks.settled();
    },
  };
}

const kind = (prepare: () => Prepared, finish?: Parameters<typeof defineKind>[0]["finish"]): TaskKind =>
  defineKind({
    type: "test.kind",
    allowedBy: "allow_packages",
    payload: v.object({}),
    prepare,
    ...(finish === undefined ? {} : { finish }),
  });

const shell = (script: string, more: object = {}): Prepared => ({
  do: "run",
  argv: ["/bin/sh", "-c", script],
  environment: {},
  timeout: minutes(1),
  ...more,
});

test("work inside the agent completes with its result, and leaves neither rows nor a directory", async () => {
  const agent = agentWith(
    kind(() => ({
      do: "work",
      timeout: minutes(1),
      repeatable: true,
      run: () => Promise.resolve({ result: { packages: [1, 2] }, output: "" }),
    })),
  );
  agent.runs("a", "test.kind");
  expect(await server.completion("a")).toMatchObject({
    status: "success",
    output: "",
    result: { packages: [1, 2], exitCode: 0, durationMs: expect.any(Number) },
  });
  await agent.tasks.settled();
  expect(server.rows).toEqual([]);
  expect(existsSync(join(scratch.path, "runs", "a"))).toBeFalse();
});

test("lines of work are rows, and its output where it gives none", async () => {
  const agent = agentWith(
    kind(() => ({
      do: "work",
      timeout: minutes(1),
      repeatable: true,
      run: ({ log }) => {
        log("one");
        log("two");
        return Promise.resolve({ result: {} });
      },
    })),
  );
  agent.runs("a", "test.kind");
  expect((await server.completion("a")).output).toBe("one\ntwo\n");
  expect(server.rows.join("\n")).toBe("one\ntwo");
});

test("work that throws fails with its message, without an exit code", async () => {
  const agent = agentWith(
    kind(() => ({
      do: "work",
      timeout: minutes(1),
      repeatable: true,
      run: () => Promise.reject(new Error("dpkg is not here")),
    })),
  );
  agent.runs("a", "test.kind");
  expect(await server.completion("a")).toMatchObject({
    status: "failed",
    error: "dpkg is not here",
    exitCode: null,
  });
});

test("work is told to end at its limit, and the completion says whose limit it was", async () => {
  const agent = agentWith(
    kind(() => ({
      do: "work",
      timeout: 50,
      repeatable: true,
      run: ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("ended")))),
    })),
  );
  agent.runs("a", "test.kind");
  const { status, error } = await server.completion("a");
  expect(status).toBe("timeout");
  expect(error).toContain("the limit is 50ms");
});

test("work that can be cancelled is cancelled, with what it has to say", async () => {
  const agent = agentWith(
    kind(() => ({
      do: "work",
      timeout: minutes(1),
      repeatable: true,
      run: ({ signal }) =>
        new Promise((resolve) => signal.addEventListener("abort", () => resolve({ result: { part: 1 } }))),
    })),
  );
  agent.runs("a", "test.kind");
  server.cancelled.add("a");
  expect(await server.completion("a")).toMatchObject({ status: "cancelled", result: { part: 1 } });
});

/** Work of an agent that ends while it is done, as often as `ends` says. */
function interrupted(
  repeatable: boolean,
  ends: number,
): { readonly kind: TaskKind; readonly begun: () => number } {
  let begun = 0;
  const work = kind(() => ({
    do: "work",
    timeout: minutes(1),
    repeatable,
    run: () => (++begun > ends ? Promise.resolve({ result: { begun } }) : new Promise(() => undefined)),
  }));
  return { kind: work, begun: () => begun };
}

test("repeatable work is done by the next process", async () => {
  const work = interrupted(true, 1);
  const first = agentWith(work.kind);
  first.runs("a", "test.kind");
  await until("the work has begun", () => work.begun() === 1);
  await first.stops();
  agentWith(work.kind);
  expect(await server.completion("a")).toMatchObject({ status: "success", result: { begun: 2 } });
  expect(server.rows.join()).toContain("begun again: the agent was restarted");
});

test("work that ends the agent again and again is given up", async () => {
  const work = interrupted(true, 9);
  for (let begun = 1; begun <= 3; begun++) {
    const agent = agentWith(work.kind);
    if (begun === 1) agent.runs("a", "test.kind");
    await until(`the work has begun ${begun} times`, () => work.begun() === begun);
    await agent.stops();
  }
  agentWith(work.kind);
  const { status, error } = await server.completion("a");
  expect({ status, error }).toEqual({
    status: "failed",
    error: "not done: the agent ended 3 times while it did this",
  });
  expect(work.begun()).toBe(3);
});

test("work that may not be repeated is reported as failed by the next process", async () => {
  const work = interrupted(false, 1);
  const first = agentWith(work.kind);
  first.runs("a", "test.kind");
  await until("the work has begun", () => work.begun() === 1);
  await first.stops();
  agentWith(work.kind);
  const { status, error } = await server.completion("a");
  expect({ status, error }).toEqual({
    status: "failed",
    error: "the agent ended while it did this; whether it was done is unknown",
  });
  expect(work.begun()).toBe(1);
});

test("a command's report and streams become its result, and the report is in no row", async () => {
  const agent = agentWith(
    kind(
      () => shell("echo out; echo err >&2; echo '{\"n\":7}' >&4; exit 3", { report: true }),
      (end) => ({ result: { ...end }, output: "made of it", error: `dpkg says ${end.exitCode}` }),
    ),
  );
  agent.runs("a", "test.kind");
  expect(await server.completion("a")).toMatchObject({
    status: "failed",
    output: "made of it",
    error: "dpkg says 3",
    exitCode: 3,
    result: { stdout: "out\n", stderr: "err\n", report: '{"n":7}\n', exitCode: 3, error: "dpkg says 3" },
  });
  expect(server.rows.join()).not.toContain('"n"');
});

test("an error of the kind makes a failure of a command that exits with 0", async () => {
  const agent = agentWith(
    kind(
      () => shell("exit 0"),
      () => ({ error: "nothing was installed" }),
    ),
  );
  agent.runs("a", "test.kind");
  expect(await server.completion("a")).toMatchObject({ status: "failed", error: "nothing was installed" });
});

test("a command without a report has no descriptor 4, and the kind sees none", async () => {
  const agent = agentWith(
    kind(
      () => shell("[ -e /proc/self/fd/4 ] && echo open || echo closed"),
      ({ stdout, report }) => ({ result: { stdout, none: report === undefined } }),
    ),
  );
  agent.runs("a", "test.kind");
  expect((await server.completion("a")).result).toMatchObject({ stdout: "closed\n", none: true });
});

test("the result of a command that outlives the agent is made by the next process", async () => {
  const go = join(scratch.path, "go");
  const prepare = (): Prepared =>
    shell(`until [ -e ${go} ]; do sleep 0.02; done; echo kept >&4`, { report: true });
  const first = agentWith(kind(prepare));
  first.runs("a", "test.kind");
  await until("the command runs", () => existsSync(join(scratch.path, "runs/a/report")));
  await first.stops();
  agentWith(kind(prepare, ({ report }) => ({ result: { report } })));
  await Bun.write(go, "");
  expect((await server.completion("a")).result).toMatchObject({ report: "kept\n" });
});

test("tasks that take turns run one after the other, over a restart too, and say what they wait for", async () => {
  const go = join(scratch.path, "go");
  const prepare = (): Prepared =>
    shell(`[ -e ${go} ] || { mkdir ${go}.now && until [ -e ${go} ]; do sleep 0.02; done; }; echo done`, {
      exclusive: "packages",
    });
  const first = agentWith(kind(prepare));
  first.runs("aaaaaaaa-1", "test.kind");
  await until("the first command runs", () => existsSync(`${go}.now`));
  first.runs("bbbbbbbb-1", "test.kind");
  const waits = "waiting for its turn: task aaaaaaaa runs, and packages take one at a time";
  await until("the second waits", () => server.rows.includes(waits));
  await first.stops();
  const second = agentWith(kind(prepare));
  await until("the second waits again", () =>
    second.tasks.active().some(({ id, note }) => id === "bbbbbbbb-1" && note === waits),
  );
  expect(store.journal.find("bbbbbbbb-1")?.launch).toBeUndefined();
  await Bun.write(go, "");
  expect((await server.completion("bbbbbbbb-1")).status).toBe("success");
  expect((await server.completion("aaaaaaaa-1")).status).toBe("success");
});

test("root that is withdrawn while a task waits is refused when its turn comes", async () => {
  const agent = agentWith(kind(() => shell("echo ran", { root: "operational", exclusive: "packages" })));
  const leave = agent.ports.turns.occupy("packages", "other");
  agent.runs("a", "test.kind");
  await until("it waits", () => agent.tasks.active().some(({ note }) => note.startsWith("waiting")));
  profile = "task";
  leave();
  const { status, error } = await server.completion("a");
  expect(status).toBe("failed");
  expect(error).toBe(
    'root access refused (operational): the root access profile applied on this node is "task"',
  );
});

test.skipIf(!isRoot())(
  "each profile gives root to the surfaces it names, as a real user id, and to no other (needs root)",
  async () => {
    const of = (root?: "operational" | "task"): TaskKind =>
      defineKind({
        type: `test.${root ?? "plain"}`,
        allowedBy: "allow_tasks",
        payload: v.object({}),
        prepare: () => shell("id -u", root && { root }),
      });
    const nobody = findAccount("nobody") ?? currentAccount();
    const agent = agentAs(runnerFor(nobody), of("operational"), of("task"), of());
    const outcomes: Record<string, string> = {};
    const expected: Record<string, string> = {};
    for (const it of ROOT_PROFILES) {
      profile = it;
      for (const surface of ["operational", "task", "plain"] as const) {
        const id = `${it}.${surface}`;
        agent.runs(id, `test.${surface}`);
        const { status, output, error } = await server.completion(id);
        outcomes[id] = status === "success" ? String(output).trim() : String(error);
        const refusal = `root access refused (${surface}): the root access profile applied on this node is "${it}"`;
        expected[id] = surface === "plain" ? "65534" : allows(it, surface) ? "0" : refusal;
      }
    }
    expect(outcomes).toEqual(expected);
  },
);

test("the payload of a kind is checked by its schema, and a refusal names the field", async () => {
  const agent = agentWith(
    defineKind({
      type: "test.kind",
      allowedBy: "allow_packages",
      payload: v.object({ names: v.array(v.string("must be a string")) }),
      prepare: ({ names }) => shell(names.join(" ")),
    }),
  );
  agent.runs("a", "test.kind", { names: ["true", 7] });
  expect((await server.completion("a")).error).toBe("invalid payload of test.kind: names.1 must be a string");
  agent.runs("b", "test.kind", { names: ["true"] });
  expect((await server.completion("b")).status).toBe("success");
});
