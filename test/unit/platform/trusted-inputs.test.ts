// What a root agent obeys besides configuration and state: certificates and logins that another user can change are refused.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { trustedAuthorities } from "../../../src/control/trust.ts";
import { messageOf } from "../../../src/lib/agent-error.ts";
import { readTlsPair } from "../../../src/listener/tls.ts";
import { findCredentials } from "../../../src/projects/docker/credentials.ts";
import { readCertificates } from "../../../src/projects/docker/host.ts";

const NOBODY = 65_534;
const CERTIFICATE = "-----BEGIN CERTIFICATE-----\nanybody's\n-----END CERTIFICATE-----\n";

let place: string;
beforeEach(() => void (place = mkdtempSync(join(tmpdir(), "noderax-test-"))));
afterEach(() => rmSync(place, { recursive: true }));

/** Calls with a variable of this process set. */
async function withVariable(name: string, value: string, call: () => unknown): Promise<void> {
  const before = process.env[name];
  process.env[name] = value;
  try {
    await call();
  } finally {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  }
}

/** By the name under which each is refused; `read` reads `file` of a directory. */
const READINGS: readonly (readonly [
  name: string,
  file: string,
  read: (directory: string) => Promise<unknown>,
])[] = [
  ["api_tls_ca_file", "ca.pem", async (place) => trustedAuthorities(join(place, "ca.pem"))],
  [
    "certificate authorities",
    "ssl.pem",
    (place) => withVariable("SSL_CERT_FILE", join(place, "ssl.pem"), () => trustedAuthorities()),
  ],
  [
    "certificate authorities",
    "extra.pem",
    (place) => withVariable("NODE_EXTRA_CA_CERTS", join(place, "extra.pem"), () => trustedAuthorities()),
  ],
  ["listen_tls_cert", "cert.pem", (place) => readTlsPair(join(place, "cert.pem"), join(place, "none"))],
  ["DOCKER_CERT_PATH", "ca.pem", readCertificates],
];

describe.if(process.getuid?.() === 0)("root (needs root)", () => {
  test.each(READINGS)("does not use the %s where %s belongs to another user", async (name, file, read) => {
    const path = join(place, file);
    writeFileSync(path, CERTIFICATE);
    chownSync(path, NOBODY, NOBODY);
    const refusal = await refusalOf(read(place));
    expect(refusal).toContain(name);
    expect(refusal).toContain(`${path} belongs to `);
    expect(refusal).toEndWith(`chown root: ${path}`);
  });

  test.each(READINGS)(
    "nor where the directory of its file belongs to another user: %s, %s",
    async (_, file, read) => {
      const directory = join(place, "theirs");
      mkdirSync(directory);
      writeFileSync(join(directory, file), CERTIFICATE);
      chownSync(directory, NOBODY, NOBODY);
      expect(await refusalOf(read(directory))).toContain(`${directory} belongs to `);
    },
  );

  test("uses no login of a Docker configuration that others can write to, and says what mends it", async () => {
    const path = join(place, "config.json");
    writeFileSync(path, JSON.stringify({ auths: { "r.example.com": { auth: btoa("ada:secret") } } }));
    chmodSync(path, 0o666);
    const environment = { DOCKER_CONFIG: place };
    const { auth, problem } = await findCredentials("r.example.com", { home: "/nonexistent", environment });
    expect(auth).toBeUndefined();
    expect(problem).toContain(`chmod go-w ${path}`);
  });

  test("executes no credential helper that belongs to another user", async () => {
    const [helper, canary] = [join(place, "docker-credential-theirs"), join(place, "canary")];
    writeFileSync(join(place, "config.json"), JSON.stringify({ credsStore: "theirs" }));
    writeFileSync(helper, `#!/bin/sh\ntouch ${canary}\n`, { mode: 0o755 });
    chownSync(helper, NOBODY, NOBODY);
    const environment = { DOCKER_CONFIG: place, PATH: place };
    const { problem } = await findCredentials("r.example.com", { home: "/nonexistent", environment });
    expect(existsSync(canary)).toBe(false);
    expect(problem).toContain(`chown root: ${helper}`);
  });
});

/** The message, which log and status show without hints; "used" when nothing was refused. */
const refusalOf = (reading: Promise<unknown>): Promise<string> => reading.then(() => "used", messageOf);
