// Who is admitted, for which reason, and what a refusal says.
import { describe, expect, test } from "bun:test";
import { isLoopback, parseIpAddress } from "../../../src/lib/address.ts";
import { exposure } from "../../../src/listener/access-exposure.ts";
import { type AccessSettings, accessPolicy, decideAccess } from "../../../src/listener/access.ts";
import type { LocalClient } from "../../../src/listener/local-client.ts";

const TOKEN = "correct-horse-battery";
const b64 = (text: string): string => Buffer.from(text).toString("base64url");

interface Asked {
  readonly peer?: string;
  readonly settings?: AccessSettings;
  readonly headers?: Record<string, string>;
  /** Who it is on this machine; null for one that was not found here. */
  readonly local?: LocalClient | null;
}

const ROOT: LocalClient = { uid: 0, trusted: true };
const SOMEBODY: LocalClient = { uid: 1_001, trusted: false };

/** "token", "local", "network", or "403 …" with the detail. */
function outcome({ peer = "127.0.0.1", settings = {}, headers = {}, local }: Asked): string {
  const policy = accessPolicy(settings, ["Web-01.example.com", "node-1"]);
  const address = parseIpAddress(peer);
  const found = address !== undefined && isLoopback(address) ? ROOT : undefined;
  const caller = { peer, local: local === undefined ? found : (local ?? undefined) };
  const verdict = decideAccess(
    { ...caller, headers: new Headers({ host: "127.0.0.1:9090", ...headers }) },
    policy,
  );
  return verdict.allowed ? verdict.by : `${verdict.status} ${verdict.detail}`;
}

describe("without a token", () => {
  test.each(["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::1%lo"])(
    "%s is this machine",
    (peer) => expect(outcome({ peer })).toBe("local"),
  );

  test.each(["10.0.0.1", "128.0.0.1", "::2", "::ffff:10.0.0.1", "fe80::1%eth0", "", "garbage"])(
    "%p is not, and is told the two settings and nothing more",
    (peer) => {
      const answer = outcome({ peer, settings: { listen_allow: ["192.0.2.0/24"] } });
      expect(answer).toMatch(/^403 .*listen_allow.*listen_token/);
      expect(answer).not.toContain("192.0.2");
    },
  );

  test.each([
    ["10.0.0.1", "10.0.0.1"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["fd00::1", "fd00::1"],
  ])("the refusal names %s and the setting that would admit it", (peer, written) => {
    expect(outcome({ peer })).toStartWith(`403 ${written} may not ask: listen_allow=${written} `);
    expect(outcome({ peer, settings: { listen_allow: [written] } })).toBe("network");
  });

  test.each(["127.0.0.1", "10.0.0.5", "fd00::5"])("called from %s, who may use Docker here may", (peer) =>
    expect(outcome({ peer, local: ROOT })).toBe("local"),
  );

  test.each(["127.0.0.1", "10.0.0.5"])("called from %s, other users of this machine may not", (peer) => {
    const answer = outcome({ peer, local: SOMEBODY });
    expect(answer).toMatch(/^403 user 1001 .*listen_local=everybody.*listen_token/);
    expect(outcome({ peer, local: SOMEBODY, settings: { listen_local: "everybody" } })).toBe("local");
    expect(outcome({ peer, local: SOMEBODY, settings: { listen_allow: [peer] } })).toBe("network");
  });

  test("from 127.0.0.1, one of whom the kernel knows nothing may not", () => {
    expect(outcome({ local: null })).toStartWith("403 127.0.0.1 may not ask");
    expect(outcome({ local: null, settings: { listen_local: "everybody" } })).toBe("local");
  });

  test.each([
    ["10.1.2.3", "10.0.0.0/8"],
    ["::ffff:10.1.2.3", "10.0.0.0/8"],
    ["10.1.2.3", "::ffff:10.0.0.0/104"],
    ["10.1.2.3", "10.1.2.3"],
    ["fd00::17", "fd00::/8"],
    ["fe80::1%eth0", "fe80::/10"],
    ["203.0.113.9", "0.0.0.0/0"],
  ])("%s is in %s", (peer, network) =>
    expect(outcome({ peer, settings: { listen_allow: [network] } })).toBe("network"),
  );

  test.each([
    ["11.1.2.3", "10.0.0.0/8"],
    ["10.1.2.4", "10.1.2.3"],
    ["10.1.2.3", "::/0"],
    ["::2", "0.0.0.0/0"],
  ])("%s is not in %s", (peer, network) =>
    expect(outcome({ peer, settings: { listen_allow: [network] } })).toStartWith("403"),
  );

  test.each(["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])(
    "what came through a proxy on this machine (%s) is not from this machine",
    (name) => {
      expect(outcome({ headers: { [name]: "1" } })).toStartWith("403");
      // An operator who lists it means the proxy.
      expect(outcome({ headers: { [name]: "1" }, settings: { listen_allow: ["127.0.0.1"] } })).toBe(
        "network",
      );
    },
  );

  test.each([
    "10.0.0.7",
    "10.0.0.7:9090",
    "[fd00::7]:9090",
    "[::1]",
    "localhost:9090",
    "LOCALHOST",
    "a.localhost",
    "web-01.EXAMPLE.com.",
    "node-1:9090",
    "agent.internal:1",
  ])("called %s it answers", (host) =>
    expect(outcome({ headers: { host }, settings: { listen_hosts: ["Agent.Internal"] } })).toBe("local"),
  );

  test.each([
    "evil.example.com",
    "localhost.evil.com",
    "notlocalhost",
    "web-01",
    "127.0.0.1.evil.com",
    "127.1",
    "0x7f000001",
    "[::1",
    "[evil]:80",
    "",
    "node-1:80:80",
    "a, node-1",
    "evil.example.com, a.localhost",
  ])("called %p it refuses, which a page that made a name lead here cannot avoid", (host) =>
    expect(outcome({ headers: { host } })).toMatch(/^421 .*listen_hosts/),
  );
});

describe("loaded by a page, without an Origin", () => {
  const fetched = (site: string, mode: string, dest: string): Record<string, string> => ({
    "sec-fetch-site": site,
    "sec-fetch-mode": mode,
    "sec-fetch-dest": dest,
  });

  test.each([
    ["cross-site", "no-cors", "image"],
    ["same-site", "no-cors", "script"],
    ["cross-site", "navigate", "iframe"],
    ["same-site", "navigate", "object"],
  ] as const)("%s, %s, %s is refused, with the right token too", (site, mode, dest) => {
    const headers = { ...fetched(site, mode, dest), authorization: `Bearer ${TOKEN}` };
    expect(outcome({ headers: fetched(site, mode, dest) })).toStartWith("403");
    expect(outcome({ headers, settings: { listen_token: TOKEN } })).toStartWith("403");
  });

  test.each([
    ["none", "navigate", "document"],
    ["same-origin", "no-cors", "image"],
    ["cross-site", "navigate", "document"],
  ] as const)("%s, %s, %s is let in", (site, mode, dest) =>
    expect(outcome({ headers: fetched(site, mode, dest) })).toBe("local"),
  );

  test("a page of a listed origin that sends its Origin is admitted", () =>
    expect(
      outcome({
        headers: {
          ...fetched("cross-site", "websocket", "websocket"),
          origin: "https://console.example.com",
        },
        settings: { listen_origins: ["https://console.example.com"] },
      }),
    ).toBe("local"));
});

describe("with a token", () => {
  const settings = { listen_token: TOKEN };
  const far = { peer: "203.0.113.9", settings };

  test.each([
    { authorization: `Bearer ${TOKEN}` },
    { authorization: `bearer   ${TOKEN}` },
    { "sec-websocket-protocol": `bearer.${b64(TOKEN)}` },
    { "sec-websocket-protocol": `tunnel.half-close, bearer.${b64(TOKEN)}` },
    { authorization: `Bearer ${TOKEN}`, host: "whatever.example.com", "x-forwarded-for": "1.2.3.4" },
  ])("the right one is admitted from anywhere, by any name: %j", (headers) =>
    expect(outcome({ ...far, headers })).toBe("token"),
  );

  test.each([
    { authorization: "Bearer wrong-horse-battery" },
    { authorization: `Bearer ${TOKEN}x` },
    { authorization: `Bearer ${TOKEN.slice(1)}` },
    { authorization: "Bearer" },
    { authorization: "Basic dXNlcjpwYXNz" },
    { authorization: "" },
    { "sec-websocket-protocol": `bearer.${TOKEN}` },
    { "sec-websocket-protocol": "bearer." },
    { "sec-websocket-protocol": `bearer.${b64("wrong")}, bearer.${b64(TOKEN)}` },
    { authorization: "Bearer wrong", "sec-websocket-protocol": `bearer.${b64(TOKEN)}` },
  ])("a wrong one is refused, from this machine too, without repeating it: %j", (headers) => {
    for (const peer of ["203.0.113.9", "127.0.0.1"]) {
      const answer = outcome({ peer, settings, headers });
      expect(answer).toMatch(/^401 .*listen_token/);
      expect(answer).not.toContain("horse");
    }
  });

  test.each([ROOT, SOMEBODY, null])("it is asked of users of this machine, too: %j", (local) => {
    expect(outcome({ settings, local })).toMatch(/^401 .*listen_token/);
    expect(outcome({ settings: { ...settings, listen_local: "everybody" }, local })).toBe("local");
    expect(outcome({ settings: { ...settings, listen_allow: ["127.0.0.1"] }, local })).toBe("network");
  });

  test("it is asked of the machine's other addresses, too", () => {
    expect(outcome({ peer: "10.0.0.5", settings, local: ROOT })).toMatch(/^401 .*listen_token/);
    expect(outcome({ peer: "10.0.0.5", settings, local: null })).toMatch(/^403 .*listen_allow/);
  });

  test("where none is set, any is wrong", () =>
    expect(outcome({ headers: { authorization: "Bearer undefined" } })).toStartWith("401"));
});

describe("a page in a browser", () => {
  const origins = { listen_origins: ["https://Console.example.com/", "chrome-extension://abc"] };

  test.each([
    "http://evil.example.com",
    "https://console.example.com.evil.com",
    "http://console.example.com",
    "http://127.0.0.1:8080",
    "http://localhost:9090",
    "null",
    "",
    "file://",
    "https://console.example.com, http://127.0.0.1:9090",
  ])("of another site (%p) is refused, with or without the token", (origin) => {
    const settings = { ...origins, listen_token: TOKEN };
    for (const more of [{}, { authorization: `Bearer ${TOKEN}` }])
      expect(outcome({ settings, headers: { origin, ...more } })).toMatch(/^403 .*listen_origins/);
  });

  test.each(["https://console.example.com", "chrome-extension://abc"])(
    "of listen_origins (%s) may",
    (origin) => expect(outcome({ settings: origins, headers: { origin } })).toBe("local"),
  );

  test.each([
    ["http://127.0.0.1:9090", "127.0.0.1:9090"],
    ["http://localhost", "localhost:80"],
    ["https://localhost", "localhost"],
    ["http://[::1]:9090", "[::1]:9090"],
  ])("of this very server (%s) may", (origin, host) =>
    expect(outcome({ headers: { origin, host } })).toBe("local"),
  );

  test("that made a foreign name resolve here is refused by that name", () =>
    expect(outcome({ headers: { origin: "http://evil.com:9090", host: "evil.com:9090" } })).toStartWith(
      "421",
    ));
});

describe("exposure", () => {
  test.each([
    [{}, []],
    [{ listen_allow: ["10.0.0.0/8", "fc00::/7"] }, []],
    [{ listen_allow: ["0.0.0.0/0"] }, ["listen_allow 0.0.0.0/0"]],
    [{ listen_allow: ["0.0.0.0/1", "10.0.0.1", "::/0"] }, ["listen_allow 0.0.0.0/1", "listen_allow ::/0"]],
    [{ listen_token: TOKEN }, ["listen_token"]],
    [{ listen_token: TOKEN, listen_tls_cert: "/c.pem" }, []],
    [{ listen_token: TOKEN, listen_allow: ["0.0.0.0/0"], listen_address: "127.0.0.1" }, []],
    [{ listen_token: TOKEN, listen_address: "10.0.0.1" }, ["listen_token"]],
    [{ listen_local: "docker" as const }, []],
    [{ listen_local: "everybody" as const, listen_address: "127.0.0.1" }, ["listen_local everybody"]],
  ])("of %j is %j", (settings, starts) => {
    const warnings = exposure(settings);
    expect(warnings).toHaveLength(starts.length);
    for (const [at, start] of starts.entries()) expect(warnings[at]).toStartWith(start);
    expect(warnings.join()).not.toContain(TOKEN);
  });
});

test("text that is no address is none", () => {
  for (const text of ["", "1.2.3", "1.2.3.4.5", "::g", "%lo", "1.2.3.4/8"])
    expect(parseIpAddress(text)).toBeUndefined();
});
