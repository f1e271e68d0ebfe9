// `drain` reaches the server whenever it is called, and holds until `--off`.
import { expect, setDefaultTimeout, test } from "bun:test";
import { seconds } from "../../src/lib/duration.ts";
import { binary } from "../support/binary.ts";
import { type Machine, type Operator, machine, startSandbox, until } from "../support/dev.ts";

setDefaultTimeout(150_000);

/** A Docker Engine without anything on it. */
function emptyDocker(host: Machine): Disposable & { readonly host: string } {
  const socket = host.at("docker.sock");
  const answers: Readonly<Record<string, () => Response>> = {
    version: () => Response.json({ Version: "28.0.0", ApiVersion: "1.48", MinAPIVersion: "1.24" }),
    info: () => Response.json({ DockerRootDir: "/var/lib/docker" }),
    volumes: () => Response.json({ Volumes: null }),
    events: () =>
      new Response(new ReadableStream({ type: "direct", pull: () => new Promise<void>(() => {}) })),
  };
  const server = Bun.serve({
    unix: socket,
    fetch({ url }) {
      const kind = new URL(url).pathname.split("/").find((part) => Object.hasOwn(answers, part)) ?? "";
      return answers[kind]?.() ?? Response.json([]);
    },
  });
  return { host: `unix://${socket}`, [Symbol.dispose]: () => void server.stop(true) };
}

/** By default a node beats every 30 s. */
const start = (host: Machine, sandbox: Operator, docker: { readonly host: string }) =>
  host.start(["run", "--server-url", sandbox.url, "--node-name", "n1"], {
    env: { DOCKER_HOST: docker.host },
  });

async function reads(sandbox: Operator, state: string): Promise<void> {
  await until(
    `the server reads ${state}`,
    async () => {
      const nodes = (await sandbox.call("GET", "/cara/nodes")) as { status: { state: string } }[];
      return nodes.some(({ status }) => status.state === state);
    },
    seconds(20),
  );
}

test("a running agent is drained at once, reports it, and accepts projects again", async () => {
  using host = machine();
  using docker = emptyDocker(host);
  await using sandbox = await startSandbox(host);
  await using _agent = start(host, sandbox, docker);
  await reads(sandbox, "Ready");
  const knows = `\n  The server at ${sandbox.url} knows.\n`;
  expect(await host.run(["drain"])).toEqual({
    code: 0,
    stdout: `draining: no new projects come here, running ones stay${knows}`,
    stderr: "",
  });
  await reads(sandbox, "Draining");
  expect((await host.run(["status"])).stdout).toMatch(/^ {2}draining +since /m);
  expect((await host.run(["drain"])).stdout).toMatch(
    /^draining already, for .+\n {2}The server at \S+ knows\.\n$/,
  );
  expect((await host.run(["drain", "--off"])).stdout).toBe(`accepts projects again${knows}`);
  await reads(sandbox, "Ready");
});

test("it can be set for a stopped agent, and outlives restarts", async () => {
  using host = machine();
  using docker = emptyDocker(host);
  await using sandbox = await startSandbox(host);
  const first = start(host, sandbox, docker);
  await reads(sandbox, "Ready");
  await first.stop();
  const drained = await host.run(["drain", "--json"]);
  expect(JSON.parse(drained.stdout)).toEqual({ draining_since: expect.stringMatching(/^\d{4}-/) });
  for (let life = 0; life < 2; life++) {
    await sandbox.call("DELETE", "/cara/nodes/n1");
    await using _agent = start(host, sandbox, docker);
    await reads(sandbox, "Draining");
  }
  expect((await host.run(["drain", "--off"])).stdout).toBe(
    "accepts projects again\n  No agent runs here: it tells the server when it is started.\n",
  );
  await using _last = start(host, sandbox, docker);
  await reads(sandbox, "Ready");
});

test("where no agent has ever been, nothing is made and nothing promised", async () => {
  using host = machine();
  const { code, stdout, stderr } = await host.run(["drain", "--state-file", host.at("typo/id.json")]);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toStartWith(`error: no agent has run with the state directory ${host.at("typo")}\n`);
  expect(host.has("typo")).toBeFalse();
});

test.skipIf(process.getuid?.() !== 0)("another user is refused (needs root)", async () => {
  using host = machine();
  using docker = emptyDocker(host);
  await using sandbox = await startSandbox(host);
  await using _agent = start(host, sandbox, docker);
  await reads(sandbox, "Ready");
  const as = ["--reuid", "65534", "--regid", "65534", "--clear-groups", binary];
  const { code, stderr } = await host.run([...as, "drain"], { file: "/usr/bin/setpriv" });
  expect(code).toBe(5);
  expect(stderr).toBe(
    `error: the agent in ${host.at("work/data")} belongs to another user\n  Run this as that user, or with sudo.\n`,
  );
});
