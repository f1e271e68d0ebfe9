// Promises about HTTPS with an authority of one's own: refused with its name, trusted on demand, never just accepted.
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { temporaryDirectory } from "../support/binary.ts";
import { certificateFor, noOpenssl } from "../support/certificates.ts";
import { machine, startSandbox } from "../support/dev.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(150_000);

const directory = temporaryDirectory();
afterAll(() => directory[Symbol.dispose]());
const { ca, cert, key } = certificateFor(directory.path, "IP:127.0.0.1", "Example Internal CA");
const serving = { args: ["--tls-cert", cert, "--tls-key", key], ca: readFileSync(ca, "utf8") };
const bootstrap = ["enroll", "--hostname", "web-01", "--bootstrap-token", "-"];

describe.skipIf(noOpenssl)("a control plane with a private authority (needs openssl)", () => {
  test("is refused with exit 4, the issuer's name, and the way to trust it", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host, serving);
    const args = ["enroll", "--api-url", sandbox.url, "--email", "ops@example.com"];
    const { code, stdout, stderr } = await host.run(args);
    expect({ code, stdout }).toEqual({ code: 4, stdout: "" });
    expect(stderr).toBe(
      `error: cannot reach ${sandbox.url}: certificate signed by an unknown authority\n` +
        `  The server's certificate was issued by "Example Internal CA".\n` +
        "  Trust it with:  noderax-agent config set api_tls_ca_file /path/to/ca.pem\n",
    );
  });

  test("is trusted after what that message says to type, by enroll and by run", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host, serving);
    expect((await host.run(["config", "set", "api_tls_ca_file", ca])).code).toBe(0);
    const { token } = (await sandbox.call("POST", "/node-installs", { node_name: "web-01" })) as {
      token: string;
    };
    const enrollment = await host.run([...bootstrap, "--api-url", sandbox.url], { stdin: token });
    expect(enrollment).toMatchObject({ code: 0, stderr: "" });
    await using agent = host.start(["run", "--task-poll-interval", "500ms"]);
    const id = await sandbox.order("web-01", "echo over TLS");
    expect(await sandbox.sees(id, "success", "failed")).toMatchObject({ output: "over TLS\n" });
    agent.signal("SIGTERM");
    expect(await agent.exited).toBe(0);
  });

  test("is refused under another name than the certificate's, trusted or not", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host, serving);
    const url = sandbox.url.replace("127.0.0.1", "localhost");
    const args = ["enroll", "--api-url", url, "--api-tls-ca-file", ca, "--email", "ops@example.com"];
    const { code, stderr } = await host.run(args);
    expect(code).toBe(4);
    expect(stderr).toBe(
      `error: cannot reach ${url}: the certificate is for another host name\n` +
        "  Use the name the certificate was issued for.\n",
    );
  });
});

test.each([
  ["is not there", "nowhere.pem", undefined],
  ["holds no certificate", "empty.pem", "no certificate\n"],
])("an api_tls_ca_file that %s is named, with exit 2", async (_, name, content) => {
  using host = machine();
  await using sandbox = await startSandbox(host, serving);
  if (content !== undefined) host.write(name, content);
  const args = ["--api-url", sandbox.url, "--api-tls-ca-file", host.at(name)];
  const { code, stderr } = await host.run([...bootstrap, ...args], { stdin: "some-token" });
  expect(code).toBe(2);
  expect(stderr).toContain("api_tls_ca_file");
  expect(stderr).toContain(host.at(name));
});
