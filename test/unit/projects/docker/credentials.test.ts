import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { milliseconds } from "../../../../src/lib/duration.ts";
import { type FoundCredentials, findCredentials } from "../../../../src/projects/docker/credentials.ts";
import { until } from "../../../support/until.ts";

const directory = mkdtempSync(join(tmpdir(), "noderax-credentials-"));
afterAll(() => rmSync(directory, { recursive: true }));

const base64 = (text: string): string => Buffer.from(text).toString("base64");

function find(registry: string, config: unknown, more = {}): Promise<FoundCredentials> {
  const text = typeof config === "string" ? config : JSON.stringify(config);
  writeFileSync(join(directory, "config.json"), text);
  const environment = { DOCKER_CONFIG: directory, PATH: directory };
  return findCredentials(registry, { home: "/nonexistent", environment, ...more });
}

function helper(name: string, script: string): void {
  writeFileSync(join(directory, `docker-credential-${name}`), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

const ADA = { username: "ada", password: "a:b" };

describe("credentials in the configuration", () => {
  test.each([
    ["docker.io", "https://index.docker.io/v1/"],
    ["docker.io", "docker.io"],
    ["r.example.com", "r.example.com"],
    ["r.example.com", "https://r.example.com/v2/"],
    ["r.example.com:5000", "http://r.example.com:5000"],
  ])("of %s are found under %s", async (registry, key) => {
    const { auth } = await find(registry, { auths: { [key]: { auth: base64("ada:a:b") } } });
    expect(auth).toMatchObject(ADA);
  });

  test("are given for their own registry only", async () => {
    const config = { auths: { "example.com": { auth: base64("ada:x") }, "r.example.com": {} } };
    expect(await find("r.example.com", config)).toEqual({ auth: undefined, problem: undefined });
    expect((await find("example.com:5000", config)).auth).toBeUndefined();
  });

  test("may be a token, or plain", async () => {
    const config = { auths: { a: { identitytoken: "t" }, b: { username: "ada", password: "a:b" } } };
    expect((await find("a", config)).auth).toEqual({ identitytoken: "t", serveraddress: "a" });
    expect((await find("b", config)).auth).toEqual({ ...ADA, serveraddress: "b" });
  });

  test("are looked for in the user's home when nothing else is said", async () => {
    expect(await findCredentials("a", { home: "/nonexistent", environment: {} })).toEqual({
      auth: undefined,
      problem: undefined,
    });
  });

  test.each([
    ['{"auths": {"a": "s3cret', "is not valid JSON"],
    ['{"auths": {"a": "s3cret"}}', "is not a Docker configuration"],
    [`"${"x".repeat(1 << 20)}"`, "is too large"],
  ])("that cannot be read are a problem without what stands there: %#", async (text, problem) => {
    expect(await find("a", text)).toEqual({
      auth: undefined,
      problem: `${directory}/config.json ${problem}`,
    });
  });
});

describe("a credential helper", () => {
  test("is asked for the registry on its standard input, in a clean environment", async () => {
    helper(
      "asked",
      `read -r r; echo "{\\"Username\\":\\"$r\\",\\"Secret\\":\\"$(env | grep -v '^_=\\|PWD' | cut -d= -f1 | sort | tr '\\n' ' ')\\"}"`,
    );
    process.env["NODERAX_TEST_SECRET"] = "x";
    const { auth } = await find("r.example.com", { credHelpers: { "r.example.com": "asked" } });
    delete process.env["NODERAX_TEST_SECRET"];
    expect(auth).toEqual({
      username: "r.example.com",
      password: expect.stringMatching(/^HOME PATH (SHLVL )?$/),
      serveraddress: "r.example.com",
    });
  });

  test("that answers with a token is used so", async () => {
    helper("token", `echo '{"Username":"<token>","Secret":"t"}'`);
    expect((await find("docker.io", { credsStore: "token" })).auth).toEqual({
      identitytoken: "t",
      serveraddress: "https://index.docker.io/v1/",
    });
  });

  test("that has none leaves it to the file", async () => {
    helper("empty", `echo "credentials not found in native keychain"; exit 1`);
    const config = { credsStore: "empty", auths: { a: { auth: base64("ada:a:b") } } };
    expect((await find("a", config)).auth).toMatchObject(ADA);
    expect(await find("b", config)).toEqual({ auth: undefined, problem: undefined });
  });

  test.each([
    ["fails", "echo s3cret; exit 3", "failed (exit 3)"],
    ["babbles", "echo s3cret", "did not answer with credentials"],
    ["floods", "yes", "did not answer with credentials"],
  ])("that %s is a problem without its words", async (name, script, problem) => {
    helper(name, script);
    const found = await find("a", { credsStore: name }, { helperLimit: milliseconds(5_000) });
    expect(found.auth).toBeUndefined();
    expect(found.problem).toStartWith(`docker-credential-${name} `);
    if (name !== "floods") expect(found.problem).toEndWith(problem);
  });

  test("that hangs is ended, with what it started", async () => {
    const pidFile = join(directory, "pid");
    helper("hangs", `sleep 1000 & echo $! >${pidFile}; wait`);
    const found = await find("a", { credsStore: "hangs" }, { helperLimit: milliseconds(300) });
    expect(found.problem).toBe("docker-credential-hangs did not answer in time");
    const pid = (await Bun.file(pidFile).text()).trim();
    await until(
      "its child is gone",
      async () =>
        !/^State:\s+[^Z]/m.test(
          await Bun.file(`/proc/${pid}/status`)
            .text()
            .catch(() => ""),
        ),
    );
  });

  test.each(["../../bin/sh", "a b", "not-installed"])("called %s is not run", async (name) => {
    expect(await find("a", { credsStore: name })).toMatchObject({
      auth: undefined,
      problem: expect.stringContaining(name),
    });
  });
});
