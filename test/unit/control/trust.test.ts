// A custom authority is trusted beside all others, a server is told apart by what is wrong with its certificate.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import type { AgentError } from "../../../src/lib/agent-error.ts";
import { createHttp } from "../../../src/control/http.ts";
import { explainTls } from "../../../src/control/tls-peer.ts";
import { trustedAuthorities } from "../../../src/control/trust.ts";
import { failureOf, forever, get } from "./servers.ts";

const openssl = Bun.which("openssl");
let directory: string;
const at = (name: string): string => join(directory, name);

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "noderax-test-"));
  if (openssl === null) return;
  run(
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=Factory-CA -keyout ca.key -out ca.pem",
  );
  for (const [name, host, days] of [
    ["good", "DNS:localhost,IP:127.0.0.1", "2"],
    ["elsewhere", "DNS:elsewhere.example", "2"],
    ["old", "IP:127.0.0.1", "-1"],
  ] as const) {
    run(
      `req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=plane -keyout ${name}.key -out ${name}.csr`,
    );
    writeFileSync(at("ext"), `subjectAltName=${host}\n`);
    run(`x509 -req -in ${name}.csr -CA ca.pem -CAkey ca.key -days ${days} -extfile ext -out ${name}.pem`);
  }
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function run(command: string): void {
  const made = Bun.spawnSync([openssl ?? "", ...command.split(" ")], { cwd: directory, stderr: "pipe" });
  if (!made.success) throw new Error(made.stderr.toString());
}

test("a custom authority is added to the built-in and the system's ones", () => {
  const pem = "-----BEGIN CERTIFICATE-----\nb3duZXI=\n-----END CERTIFICATE-----\n";
  writeFileSync(at("own.pem"), pem);
  const all = trustedAuthorities(at("own.pem"));
  expect(all).toContain(pem);
  expect(all).toContain(rootCertificates[0] ?? "no root certificates");
  expect(all).toContain(rootCertificates.at(-1) ?? "no root certificates");
  expect(all.length).toBeGreaterThan(trustedAuthorities().length);
});

test("no certificate is listed twice", () => {
  const all = trustedAuthorities().match(/-----BEGIN CERTIFICATE-----[^-]+/g) ?? [];
  expect(new Set(all).size).toBe(all.length);
});

test.each([
  ["is not there", "missing.pem", undefined, "cannot be read"],
  ["holds no certificate", "key.pem", "-----BEGIN PRIVATE KEY-----\n", "holds no PEM certificate"],
  ["is empty", "empty.pem", "", "holds no PEM certificate"],
])("a file that %s is refused by the name of its setting", (_, name, content, reason) => {
  if (content !== undefined) writeFileSync(at(name), content);
  const refuse = (): string => trustedAuthorities(at(name));
  expect(refuse).toThrow("api_tls_ca_file");
  expect(refuse).toThrow(reason);
  expect(refuse).toThrow(at(name));
});

describe.skipIf(openssl === null)("over TLS (needs openssl)", () => {
  const serveTls = (name: string) =>
    Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => Response.json({}),
      tls: { cert: readFileSync(at(`${name}.pem`)), key: readFileSync(at(`${name}.key`)) },
    });
  const call = (port: number | undefined, custom?: string): Promise<unknown> =>
    createHttp({ baseUrl: `https://127.0.0.1:${port}`, authorities: () => trustedAuthorities(custom) })(
      get,
      forever,
    );

  test("a server of a custom authority is trusted with it and refused without", async () => {
    using server = serveTls("good");
    expect(await call(server.port, at("ca.pem"))).toEqual({});
    const error = await failureOf(call(server.port));
    expect(error.code).toBe("tls.untrusted");
    expect(error.hint.join()).toContain("api_tls_ca_file");
  });

  test.each([
    ["for another name", "elsewhere", "tls.name"],
    ["that has expired", "old", "tls.expired"],
  ] as const)("a certificate %s is told as such", async (_, name, code) => {
    using server = serveTls(name);
    expect((await failureOf(call(server.port, at("ca.pem")))).code).toBe(code);
  });

  test("for a certificate we do not trust, its issuer is named", async () => {
    using server = serveTls("good");
    const error = await failureOf(call(server.port));
    const explained = (await explainTls(error, `https://127.0.0.1:${server.port}`)) as AgentError;
    expect(explained.hint[0]).toBe('The server\'s certificate was issued by "Factory-CA".');
  });
});
