// `sandbox apply`, `get` and `delete` as separate processes against a running sandbox; the node is played by the test.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blockedBy } from "../../../src/cli/commands/sandbox/apply.ts";
import { parseManifests } from "../../../src/cli/commands/sandbox/manifests.ts";
import type { NodeAnswer, ProjectAnswer } from "../../../src/cli/commands/sandbox/resources.ts";
import type { AgentError } from "../../../src/lib/agent-error.ts";
import type { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { until } from "../../support/until.ts";
import {
  caraSandbox,
  isGone,
  projectDocument,
  reaches,
  readyNode,
  report,
} from "../sandbox/caravanserai-harness.ts";

setDefaultTimeout(150_000);

const main = join(import.meta.dir, "../../../src/main.ts");
const temporary = mkdtempSync(join(tmpdir(), "sandbox-apply-"));
let sandbox: Sandbox;

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly notes: string;
}

/** `onNotes` is given all of stderr, each time that there is more. */
async function run(
  args: readonly string[],
  stdin = "",
  at: Sandbox = sandbox,
  onNotes: (notes: string) => void = () => {},
): Promise<Ran> {
  const child = Bun.spawn([process.execPath, main, "sandbox", ...args], {
    env: {
      PATH: process.env["PATH"] ?? "",
      TMPDIR: temporary,
      NODERAX_SANDBOX_URL: at.url,
      NODERAX_SANDBOX_TOKEN: at.operatorToken,
    },
    stdin: new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  async function readNotes(): Promise<string> {
    let notes = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) onNotes((notes += text));
    return notes;
  }
  const [out, notes, code] = await Promise.all([child.stdout.text(), readNotes(), child.exited]);
  return { code, out, notes };
}

beforeAll(async () => {
  sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
});
afterAll(async () => {
  await sandbox.stop();
  rmSync(temporary, { recursive: true });
});

/** Starts `apply --wait`; `prints` resolves once stderr contains a text. */
function applying(input: string): { done: Promise<Ran>; prints(text: string): Promise<void> } {
  let seen = "";
  const done = run(["apply", "-f", "-", "--wait"], input, sandbox, (notes) => void (seen = notes));
  return { done, prints: (text) => until(`it prints "${text}"`, () => seen.includes(text)) };
}

const untilSpec = (name: string, image: string): Promise<void> =>
  until(`${name} is made of ${image}`, () => sandbox.project(name).spec.services[0]?.image === image);

const yaml = (name: string, image = "busybox:1"): string =>
  [
    "apiVersion: caravanserai/v1",
    "kind: Project",
    `metadata: {name: ${name}}`,
    "spec:",
    "  services:",
    "    - name: web",
    `      image: ${image}`,
    "",
  ].join("\n");

test("several documents of one file are applied in order, and again without a change", async () => {
  const file = join(temporary, "two.yaml");
  const node = "apiVersion: caravanserai/v1\nkind: Node\nmetadata: {name: n9}\nspec: {unschedulable: true}\n";
  writeFileSync(file, `# ours\n${yaml("one")}---\n${node}---\n`);
  expect(await run(["apply", "-f", file])).toEqual({
    code: 0,
    out: "project one created\nnode n9 created\n",
    notes: "",
  });
  expect((await run(["apply", "--file", file])).out).toBe("project one unchanged\nnode n9 unchanged\n");
  expect(sandbox.caraNode("n9").spec.unschedulable).toBeTrue();
});

test("standard input may be JSON", async () => {
  const { code, out } = await run(["apply", "-f", "-", "--json"], JSON.stringify(projectDocument("piped")));
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject([
    { result: "created", resource: { kind: "Project", metadata: { name: "piped" } } },
  ]);
});

test("nothing of a file is applied when one document of it is wrong", async () => {
  const { code, out, notes } = await run(["apply", "-f", "-"], `${yaml("good")}---\n${yaml("Bad")}`);
  expect([code, out]).toEqual([2, ""]);
  expect(notes).toStartWith("error: standard input, line 11: metadata.name: must consist of lower case");
  expect(sandbox.projects().map(({ metadata }) => metadata.name)).not.toContain("good");
});

test("the example names a public image, or the one that is given", async () => {
  await run(["apply", "--example", "web", "--image", "busybox:7"]);
  expect(sandbox.project("example-web").spec.services[0]?.image).toBe("busybox:7");
});

test("unknown fields are warned of, and the rest is applied", async () => {
  const extra = `${yaml("extra")}      volumeMount: []\n  servces: []\n`.replace("{name", "{labls: {}, name");
  const { code, out, notes } = await run(["apply", "-f", "-"], extra);
  expect([code, out]).toEqual([0, "project extra created\n"]);
  const line = (at: number, path: string, meant: string): string =>
    `warning: standard input, line ${at}: unknown field ${path} (did you mean ${meant}?); it has no effect\n`;
  expect(notes).toBe(
    line(3, "metadata.labls", "labels") +
      line(8, "spec.services[0].volumeMount", "volumeMounts") +
      line(9, "spec.servces", "services"),
  );
});

test("fields that the server wrote are not unknown", async () => {
  await run(["apply", "-f", "-"], yaml("again"));
  const { out } = await run(["get", "project", "again", "--json"]);
  expect(await run(["apply", "-f", "-"], out)).toEqual({
    code: 0,
    out: "project again unchanged\n",
    notes: "",
  });
});

describe("--wait", () => {
  test("prints progress to stderr, and ends when the project runs", async () => {
    const waiting = applying(yaml("waits"));
    await waiting.prints("waits: Scheduled");
    await report(sandbox, "waits", "Running", "ContainersRunning", "web");
    expect(await waiting.done).toEqual({
      code: 0,
      out: "project waits created\n",
      notes: "waits: Scheduled  NodeAssigned: on n1\nwaits: Running  ContainersRunning: web\n",
    });
  });

  test("exits with 1 when the project has failed, and what a container printed cannot move the cursor", async () => {
    const waiting = run(["apply", "-f", "-", "--wait", "--json"], yaml("fails"));
    await reaches(sandbox, "fails", "Scheduled");
    await report(sandbox, "fails", "Failed", "ContainerCrashed", "db(exit=1)\n\u001b[2Jboom");
    const { code, out, notes } = await waiting;
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject([{ result: "created", resource: { status: { phase: "Failed" } } }]);
    expect(notes).toEndWith("fails: Failed  ContainerCrashed: db(exit=1) · \\x1b[2Jboom\n");
  });

  test("of a corrected project waits past the failure of the old spec", async () => {
    await run(["apply", "-f", "-"], yaml("mended"));
    await reaches(sandbox, "mended", "Scheduled");
    await report(sandbox, "mended", "Failed", "ReconcileError", "no such image");
    const waiting = applying(yaml("mended", "busybox:2"));
    await untilSpec("mended", "busybox:2");
    await waiting.prints("mended: waits for n1");
    await report(sandbox, "mended", "Running", "ContainersRunning", "web");
    expect(await waiting.done).toEqual({
      code: 0,
      out: "project mended changed\n",
      notes: "mended: waits for n1 to try the new spec\nmended: Running  ContainersRunning: web\n",
    });
  });

  test("prints where to look when nothing happens for a while", async () => {
    const waiting = applying(yaml("quiet"));
    await waiting.prints("nothing new for 5s");
    await report(sandbox, "quiet", "Running", "ContainersRunning", "web");
    expect((await waiting.done).notes).toContain(
      "quiet: Scheduled  NodeAssigned: on n1\n  nothing new for 5s; what n1 waits for is in its log, and on that machine in:  noderax-agent status\n",
    );
  });

  test("ends with the reason when no node is Ready", async () => {
    const empty = await caraSandbox();
    try {
      const { code, notes } = await run(["apply", "-f", "-", "--wait"], yaml("nowhere"), empty);
      expect(code).toBe(1);
      expect(notes).toContain("error: project nowhere is Pending: there is no node\n");
    } finally {
      await empty.stop();
    }
  });

  test("gives up after --timeout and says how to see it later", async () => {
    const { code, notes } = await run(["apply", "-f", "-", "--wait", "--timeout", "300ms"], yaml("slow"));
    expect(code).toBe(1);
    expect(notes).toContain("error: project slow is still Scheduled\n  To see it later:");
  });
});

describe("a project is blocked", () => {
  const node = (name: string, state: string, unschedulable = false) =>
    ({ metadata: { name }, spec: { unschedulable }, status: { state } }) as NodeAnswer;
  const project = (nodeRef: string) => ({ status: { phase: "x", nodeRef } }) as unknown as ProjectAnswer;

  test.each([
    ["", [], "there is no node"],
    ["", [node("a", "NotReady"), node("b", "Draining")], "no node is Ready (a is NotReady, b is Draining)"],
    ["", [node("a", "Ready", true)], "no node is Ready (a is unschedulable)"],
    ["", [node("a", "NotReady"), node("b", "Ready")], undefined],
    ["a", [node("a", "Ready", true)], undefined],
    ["a", [node("a", "Draining")], undefined],
    ["a", [node("a", "NotReady"), node("b", "Ready")], "its node a is NotReady"],
    ["a", [], "its node a is not known any more"],
  ])("on node %j, of %j: %j", (nodeRef, nodes, why) => {
    expect(blockedBy(project(nodeRef), nodes)).toBe(why);
  });
});

test.each([
  [["apply"], "give either --file or --example"],
  [["apply", "-f", "-", "--example", "web"], "give either --file or --example"],
  [["apply", "-f", "-", "--image", "a"], "--image needs --example"],
  [["apply", "--example", "shop"], '--example: "shop" must be one of web'],
  [["apply", "-f"], "flag --file needs a value"],
  [["get", "pods"], 'unknown kind "pods": there are nodes and projects'],
  [["delete", "project"], "missing <name>"],
])("%j is wrong usage", async (args, message) => {
  const { code, notes } = await run(args);
  expect([code, notes]).toEqual([2, expect.stringContaining(`error: ${message}`)]);
});

test("a refusal of the server is exit code 5 with its reason", async () => {
  await run(["apply", "-f", "-"], yaml("busy"));
  await reaches(sandbox, "busy", "Scheduled");
  const { code, notes } = await run(["apply", "-f", "-"], yaml("busy", "busybox:2"));
  expect(code).toBe(5);
  expect(notes).toContain(
    'project "busy" is Scheduled: its spec can be changed only while it is Pending or Failed',
  );
  expect((await run(["apply", "-f", "-", "--force"], yaml("busy", "busybox:2"))).out).toBe(
    "project busy changed\n",
  );
});

test("get shows tables for people and the server's resources with --json", async () => {
  await run(["apply", "-f", "-"], yaml("shown"));
  await reaches(sandbox, "shown", "Scheduled");
  const projects = await run(["get", "projects"]);
  expect(projects.out).toMatch(/^NAME +PHASE +NODE +SERVICES +AGE +REASON\n/);
  expect(projects.out).toMatch(/\nshown +Scheduled +n1 +web +\d+s +NodeAssigned: on n1\n/);
  const nodes = await run(["get", "nodes"]);
  expect(nodes.out).toMatch(/^NAME +STATE +HEARTBEAT +CPU +MEMORY +DISK +ADDRESS\n/);
  expect(nodes.out).toMatch(/n1 +Ready +\d+m?s ago/);
  expect(JSON.parse((await run(["get", "project", "shown", "--json"])).out)).toMatchObject({
    kind: "Project",
    status: { phase: "Scheduled" },
  });
  expect(JSON.parse((await run(["get", "nodes", "n1", "--json"])).out)).toMatchObject({ kind: "Node" });
});

test("get of one project shows its services and what was reported of it", async () => {
  await run(["apply", "-f", "-"], yaml("detail"));
  await reaches(sandbox, "detail", "Scheduled");
  await report(sandbox, "detail", "Running", "ContainersRunning", "all well");
  const { out } = await run(["get", "project", "detail"]);
  expect(out).toMatch(/^phase +Running$/m);
  expect(out).toMatch(/^web +busybox:1$/m);
  expect(out).toMatch(/ago +Running +ContainersRunning +all well$/m);
});

test("get of an unknown name fails and lists the known ones", async () => {
  const { code, notes } = await run(["get", "node", "n2"]);
  expect([code, notes]).toEqual([
    1,
    expect.stringContaining('error: node "n2" not found\n  There is:\n    n1'),
  ]);
});

test("delete ends a project, and --force removes its record", async () => {
  await run(["apply", "-f", "-"], yaml("ending"));
  await reaches(sandbox, "ending", "Scheduled");
  const { out } = await run(["delete", "project", "ending"]);
  expect(out).toBe("project ending Terminating; n1 removes its containers\n");
  expect((await run(["delete", "project", "ending", "--force"])).out).toBe("project ending removed\n");
  await isGone(sandbox, "ending");
});

/** Twenty times the same alias. */
const multiple = (name: string): string => `*${name}, `.repeat(20).slice(0, -2);

describe("a file that is wrong is refused with the line", () => {
  const withValue = yaml("a").replace(
    "image: busybox:1",
    "image: busybox:1\n      env: [{name: PORT, value: 8080}]",
  );
  test.each([
    ["no YAML", "a: [", "f, line 1: Flow sequence"],
    ["a key twice", "a: 1\na: 2", "f, line 2: Map keys must be unique"],
    [
      "aliases that explode",
      [
        "a: &a [x]",
        ...["b", "c", "d"].map((key, at) => `${key}: &${key} [${multiple("abc".charAt(at))}]`),
      ].join("\n"),
      "alias",
    ],
    ["no resource", "just text", "f, line 1: must be a resource"],
    ["an unknown kind", yaml("a").replace("Project", "Pod"), 'f, line 2: kind: unknown kind "Pod"'],
    [
      "a field that is missing",
      yaml("a").replace("image", "imag"),
      "f, line 6: spec.services[0].image: is required",
    ],
    ["a number for a text", withValue, "f, line 8: spec.services[0].env[0].value: must be a string"],
    [
      "two that are called the same",
      `${yaml("a")}    - {name: web, image: b}\n`,
      "f, line 5: spec.services: service web stands twice",
    ],
  ])("%s", async (_, text, message) => {
    const error: unknown = await parseManifests(text, "f").catch((error: unknown) => error);
    expect((error as AgentError).message).toContain(message);
    expect((error as AgentError).exit).toBe(2);
  });

  test("a field under a mistyped name is shown beside the missing one", async () => {
    const text = yaml("a").replace("services", "servces");
    const error: unknown = await parseManifests(text, "f").catch((error: unknown) => error);
    expect(error).toMatchObject({
      message: "f, line 4: spec.services: is required",
      hint: ["Beside it: unknown field spec.servces (did you mean services?)."],
    });
  });

  test("a text without documents has none", async () => {
    expect(await parseManifests("# nothing\n---\n", "f")).toEqual([]);
    expect((await run(["apply", "-f", "-"], "")).notes).toContain("standard input is empty");
    expect((await run(["apply", "-f", "/nonexistent/f"])).notes).toBe(
      "error: cannot read /nonexistent/f: no such file or directory\n",
    );
  });
});
