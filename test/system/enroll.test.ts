// Promises of `enroll`: every way in, every way it can end, each with its exit code and the next step.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { once } from "node:events";
import { statSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { seconds } from "../../src/lib/duration.ts";
import { type Machine, type Operator, enrolled, machine, startSandbox, until } from "../support/dev.ts";
import { inTerminal } from "../support/screen.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(150_000);

const IDENTITY = "work/data/agent_identity.json";
const PENDING = "work/data/pending_enrollment.json";

/** The command line of an enrollment that a person approves. */
const asking = (sandbox: Operator, ...more: string[]): string[] => {
  const who = ["--email", "ops@example.com", "--hostname", "web-01"];
  return ["enroll", "--api-url", sandbox.url, ...who, ...more];
};

/** Asks, and is interrupted while it waits: an open enrollment, and its token. */
async function interruptedEnrollment(host: Machine, sandbox: Operator): Promise<string> {
  await using asked = host.start(asking(sandbox, "--json"));
  const { token } = JSON.parse(await asked.line(/"pending"/)) as { token: string };
  asked.signal("SIGINT");
  expect(await asked.exited).toBe(130);
  return token;
}

const identityOf = (host: Machine): Record<string, string> =>
  JSON.parse(host.read(IDENTITY)) as Record<string, string>;

test("goes through unattended: token on stdout, approval, identity on disk, and the agent runs", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await using asked = host.start(asking(sandbox, "--json"));
  const pending = JSON.parse(await asked.line(/^\{/)) as Record<string, string>;
  expect(pending).toMatchObject({ outcome: "pending", email: "ops@example.com", hostname: "web-01" });
  const approval = await host.run(["sandbox", "approve", pending["token"] ?? ""]);
  expect(approval).toMatchObject({ code: 0, stdout: expect.stringMatching(/^approved web-01 \(\S+\)\n$/) });
  const approved = JSON.parse(await asked.line(/^\{/)) as Record<string, string>;
  expect(await asked.exited).toBe(0);
  expect(approved).toMatchObject({ outcome: "approved", hostname: "web-01", state_file: host.at(IDENTITY) });
  expect(asked.stderr()).toBe("");

  expect(statSync(host.at(IDENTITY)).mode & 0o777).toBe(0o600);
  expect(statSync(host.at("work/data")).mode & 0o777).toBe(0o700);
  expect(host.has(PENDING)).toBeFalse();
  expect(identityOf(host)).toMatchObject({ node_id: approved["node_id"] });
  // What is needed for `run` is in the configuration, and the secret is not.
  expect(JSON.parse(host.read("work/config.json"))).toEqual({ api_url: sandbox.url });

  await using agent = host.start(["run", "--task-poll-interval", "500ms"]);
  const id = await sandbox.order("web-01", "echo it runs");
  expect(await sandbox.sees(id, "success", "failed")).toMatchObject({
    status: "success",
    output: "it runs\n",
  });
  agent.signal("SIGTERM");
  expect(await agent.exited).toBe(0);
});

test("tells a person the token, where to approve, and what to type next", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  const token = await interruptedEnrollment(host, sandbox);
  await sandbox.call("POST", "/enrollments/approve", { token });
  const { code, stdout, stderr } = await host.run(asking(sandbox));
  expect(code).toBe(0);
  expect(stderr).toContain(`Token      ${token}   (expires in 1`);
  expect(stderr).toContain("approves it for ops@example.com");
  expect(stdout).toStartWith("✓ approved as node web-01 (");
  expect(stdout).toContain(`identity saved to ${host.at(IDENTITY)}\n`);
  expect(stdout).toContain("Start it:  noderax-agent run\n");
});

describe("an identity that is there already", () => {
  test("is retained, reported, and no failure", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const before = host.read(IDENTITY);
    const again = await host.run(["enroll"]);
    expect(again).toMatchObject({ code: 0, stderr: "" });
    const { node_id } = identityOf(host);
    expect(again.stdout).toBe(`already enrolled as node ${node_id}; nothing to do (--force enrolls again)\n`);
    expect(JSON.parse((await host.run(["enroll", "--json"])).stdout)).toEqual({
      outcome: "already_enrolled",
      node_id,
    });
    expect(host.read(IDENTITY)).toBe(before);
  });

  test("is retained while the control plane is unreachable", async () => {
    using host = machine();
    const sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    await sandbox.process.stop();
    const { code, stdout } = await host.run(["enroll"]);
    expect(code).toBe(0);
    expect(stdout).toContain("not verified: cannot reach");
  });

  test("is replaced with --force", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const before = identityOf(host);
    const install = (await sandbox.call("POST", "/node-installs", { node_name: "web-02" })) as {
      token: string;
    };
    const args = ["enroll", "--force", "--hostname", "web-02", "--bootstrap-token", "-"];
    expect(await host.run(args, { stdin: install.token })).toMatchObject({ code: 0 });
    expect(identityOf(host)["node_id"]).not.toBe(before["node_id"]);
  });

  test("of a deleted node is reported as refused, with the next step", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    await sandbox.call("DELETE", "/nodes/web-01");
    const { code, stderr } = await host.run(["enroll"]);
    expect(code).toBe(5);
    expect(stderr).toContain("has no such node any more");
    expect(stderr).toContain("noderax-agent enroll --force");
  });
});

describe("an enrollment that was interrupted", () => {
  test("is taken up again with the same token", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    const token = await interruptedEnrollment(host, sandbox);
    expect(statSync(host.at(PENDING)).mode & 0o777).toBe(0o600);
    await sandbox.call("POST", "/enrollments/approve", { token });
    const again = await host.run(asking(sandbox, "--json"));
    expect(again).toMatchObject({ code: 0, stderr: "" });
    const [pending, outcome] = again.stdout.split("\n");
    expect(JSON.parse(pending ?? "")).toMatchObject({ outcome: "pending", token });
    expect(JSON.parse(outcome ?? "")).toMatchObject({ outcome: "approved", hostname: "web-01" });
  });

  test("is taken up again without saying address, e-mail and name once more", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    const token = await interruptedEnrollment(host, sandbox);
    await sandbox.call("POST", "/enrollments/approve", { token });
    const { code, stdout } = await host.run(["enroll"]);
    expect(code).toBe(0);
    expect(stdout).toStartWith("✓ approved as node web-01 (");
    expect(JSON.parse(host.read("work/config.json"))).toEqual({ api_url: sandbox.url });
  });

  test("is not taken up for another name: that is another enrollment", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    const token = await interruptedEnrollment(host, sandbox);
    await using other = host.start(asking(sandbox, "--hostname", "web-02", "--json"));
    const pending = JSON.parse(await other.line(/"pending"/)) as Record<string, string>;
    expect(pending).toMatchObject({ hostname: "web-02" });
    expect(pending["token"]).not.toBe(token);
  });

  test("says on Ctrl-C that it stays open and how to go on", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await using asked = host.start(asking(sandbox, "--json"));
    await asked.line(/"pending"/);
    asked.signal("SIGINT");
    expect(await asked.exited).toBe(130);
    expect(asked.stderr()).toBe(
      "error: interrupted; the enrollment stays open\n  Go on with it:  noderax-agent enroll\n",
    );
  });

  test("and revoked meanwhile ends with exit 5, and the next one starts over", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    const token = await interruptedEnrollment(host, sandbox);
    await sandbox.call("POST", "/enrollments/revoke", { token });
    const { code, stdout, stderr } = await host.run(asking(sandbox));
    expect({ code, stdout }).toEqual({ code: 5, stdout: "" });
    expect(stderr).toContain("error: the enrollment was revoked\n");
    expect(stderr).toEndWith("Start a new enrollment:  noderax-agent enroll\n");
    expect(await interruptedEnrollment(host, sandbox)).not.toBe(token);
  });

  test("and forgotten by the control plane ends with exit 5", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await interruptedEnrollment(host, sandbox);
    const pending = JSON.parse(host.read(PENDING)) as Record<string, string>;
    host.write(PENDING, { ...pending, token: "nobody-knows-this-token" });
    const { code, stderr } = await host.run(asking(sandbox));
    expect(code).toBe(5);
    expect(stderr).toContain("error: the control plane does not know this enrollment\n");
    expect(stderr).toContain("Is api_url still the control plane it was begun with?");
  });
});

test("that is not approved in time ends with exit 5", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await sandbox.call("PUT", "/timings", { enrollment_life: "1s" });
  const { code, stderr } = await host.run(asking(sandbox), { timeout: seconds(50) });
  expect(code).toBe(5);
  expect(stderr).toContain("error: the enrollment expired before it was approved\n");
  expect(stderr).toEndWith("Start a new enrollment:  noderax-agent enroll\n");
});

describe("a bootstrap token", () => {
  async function tokenFor(host: Machine, name: string): Promise<string> {
    const { code, stdout } = await host.run(["sandbox", "install-token", name]);
    expect(code).toBe(0);
    return stdout.trim();
  }
  const using = (sandbox: Operator, ...more: string[]): string[] => {
    return ["enroll", "--api-url", sandbox.url, "--hostname", "web-01", ...more];
  };

  test("is taken from standard input, from a file, and from the environment", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    const ways = [
      async (token: string) =>
        host.run(using(sandbox, "--force", "--hostname", "by-stdin", "--bootstrap-token", "-"), {
          stdin: `${token}\n`,
        }),
      async (token: string) => {
        const file = host.write("token", `${token}\n`);
        return host.run(using(sandbox, "--force", "--hostname", "by-file", "--bootstrap-token-file", file));
      },
      async (token: string) =>
        host.run(using(sandbox, "--force", "--hostname", "by-env"), {
          env: { NODERAX_BOOTSTRAP_TOKEN: token },
        }),
    ];
    for (const way of ways) {
      const { code, stdout, stderr } = await way(await tokenFor(host, "some-name"));
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toContain("✓ approved as node by-");
    }
  });

  test("for a name that is taken ends with exit 5 and can still be used", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const token = await tokenFor(host, "another");
    const refused = await host.run(using(sandbox, "--force", "--bootstrap-token", "-"), { stdin: token });
    expect(refused.code).toBe(5);
    expect(refused.stderr).toContain("a node with the hostname web-01 exists already");
    expect(refused.stderr).toContain("The bootstrap token can still be used.");
    const args = using(sandbox, "--force", "--hostname", "web-02", "--bootstrap-token", "-");
    expect((await host.run(args, { stdin: token })).code).toBe(0);
    const used = await host.run(using(sandbox, "--force", "--bootstrap-token", "-"), { stdin: token });
    expect(used.code).toBe(5);
    expect(used.stderr).toContain("error: the bootstrap token has been used already\n");
  });

  test("that is unknown or has expired ends with exit 5", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    const unknown = await host.run(using(sandbox, "--bootstrap-token", "no-such-token-at-all", "--json"));
    expect(unknown.code).toBe(5);
    expect(JSON.parse(unknown.stdout)).toMatchObject({ outcome: "unknown_token" });
    await sandbox.call("PUT", "/timings", { install_life: "1ms" });
    const token = await tokenFor(host, "web-01");
    const expired = await host.run(using(sandbox, "--bootstrap-token", "-"), { stdin: token });
    expect(expired.code).toBe(5);
    expect(expired.stderr).toContain("error: the bootstrap token has expired\n");
    expect(expired.stderr).toContain("Ask for a new install command");
  });

  test("that is empty, or whose file is missing, is wrong usage", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    const empty = await host.run(using(sandbox, "--bootstrap-token", "-"), { stdin: "\n" });
    expect(empty).toMatchObject({ code: 2, stderr: "error: the bootstrap token is empty\n" });
    const missing = await host.run(using(sandbox, "--bootstrap-token-file", host.at("nowhere")));
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain(host.at("nowhere"));
  });
});

describe("without a control plane that answers", () => {
  test("an address without a listener ends with exit 4", async () => {
    using host = machine();
    const { code, stderr } = await host.run(asking({ url: "http://127.0.0.1:1" } as Operator), {
      timeout: seconds(50),
    });
    expect(code).toBe(4);
    expect(stderr).toMatch(/^ {2}asking http:\/\/127\.0\.0\.1:1 … .* trying again\)$/m);
    expect(stderr).toMatch(/^error: cannot reach http:\/\/127\.0\.0\.1:1: connection refused$/m);
    expect(host.has(PENDING)).toBeFalse();
  });

  test("a server that is not a Noderax API is reported as such", async () => {
    using host = machine();
    using other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("<html>") });
    const { code, stderr } = await host.run(asking({ url: other.url.origin } as Operator), {
      timeout: seconds(50),
    });
    expect(code).not.toBe(0);
    expect(stderr).toContain("something else than a Noderax API");
    expect(stderr).toContain("Check api_url.");
  });
});

test("without a terminal, a missing address or e-mail is wrong usage that names the flag", async () => {
  using host = machine();
  expect(await host.run(["enroll"])).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringMatching(/^error: --api-url is missing, and there is no terminal to ask on\n/),
  });
  expect(await host.run(["enroll", "--api-url", "http://127.0.0.1:1"])).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringMatching(/^error: --email is missing, and there is no terminal to ask on\n/),
  });
});

test("an address over plain HTTP on another machine is warned of before anything is sent there", async () => {
  using host = machine();
  const { code, stderr } = await host.run(["enroll", "--api-url", "http://192.0.2.1:3001"]);
  expect(code).toBe(2);
  expect(stderr).toStartWith(
    "warning: api_url http://192.0.2.1:3001: the node's token and all commands cross",
  );
});

describe("with a control plane that does not answer", () => {
  test("says within the first second what it is doing, then why, and keeps to --request-timeout", async () => {
    using host = machine();
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const args = ["enroll", "--api-url", url, "--email", "a@b.c", "--request-timeout", "1200ms"];
    await using asked = host.start(args);
    await until("it says what it does", () => asked.stderr().startsWith(`  asking ${url} …  `));
    // The first of three tries is not over yet.
    expect(asked.stderr()).not.toContain("trying again");
    await until("it says why it goes on", () => /\(.*no answer.*; trying again\)\n/.test(asked.stderr()));
    expect(await asked.exited).toBe(4);
    silent.close();
  });

  test("asks a person again after a slip of the fingers, and keeps what was right", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    using person = inTerminal(host, ["enroll"]);
    await person.shows("Control plane URL: ");
    person.type("ftp://typo\r");
    await person.shows('"ftp://typo" is not an address');
    person.type("http://127.0.0.1:1\r");
    await person.shows("E-mail of the person who approves: ");
    person.type("ops\r");
    await person.shows('"ops" is not an e-mail address');
    person.type("ops@example.com\r");
    await person.shows("connection refused");
    person.forgets();
    await person.shows("Control plane URL: ");
    person.type(`${sandbox.url}\r`);
    await person.shows("approves it for ops@example.com");
    await person.shows("waiting for approval");
    person.type("\u0003");
    expect(await person.exited).toBe(130);
  });
});
