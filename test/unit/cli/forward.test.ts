// Arguments of `forward` and `logs`: ports, nodes, times, tokens.
import { describe, expect, test } from "bun:test";
import { parsePortMapping } from "../../../src/cli/commands/forward.ts";
import { queryOf } from "../../../src/cli/commands/logs.ts";
import { placeOf, parseServiceName, tokenTravelsInClear } from "../../../src/cli/remote-agent.ts";
import { parseAgentAddress } from "../../../src/peer/agent-client.ts";
import { chosenProtocol } from "../../../src/protocol/caravanserai/tunnel.ts";

describe("[LOCAL:]REMOTE", () => {
  test.each([
    ["5432", { local: 5432, remote: 5432 }],
    ["15432:5432", { local: 15432, remote: 5432 }],
    ["0:80", { local: 0, remote: 80 }],
  ])("%s", (text, mapping) => {
    expect(parsePortMapping(text)).toEqual(mapping);
  });

  test.each(["0", "", ":80", "80:", "80:0", "70000", "80:90:100", "web", "8e1", "-1:80"])(
    "%j is refused",
    (text) => {
      expect(() => parsePortMapping(text)).toThrow("is not [LOCAL:]REMOTE");
    },
  );
});

test("a service is named by its project", () => {
  expect(parseServiceName("shop/db")).toEqual({ project: "shop", service: "db" });
  for (const text of ["shop", "shop/", "/db", "a/b/c", "a b/c", "../..", "a/.."])
    expect(() => parseServiceName(text)).toThrow("<project>/<service>");
});

describe("--node", () => {
  test.each([
    ["node-1", "http://node-1:9090"],
    ["10.0.0.5:7000", "http://10.0.0.5:7000"],
    ["[fd00::1]", "http://[fd00::1]:9090"],
    ["[fd00::1]:80", "http://[fd00::1]:80"],
    ["https://node-1:9443", "https://node-1:9443"],
    ["HTTP://node-1/", "http://node-1:9090"],
  ])("%s is %s", (text, url) => {
    expect(parseAgentAddress(text).url).toBe(url);
  });

  test.each(["", "fd00::1", "node:0", "node:99999", "ftp://x", "user@host", "host/path", "a b"])(
    "%j is refused",
    (text) => {
      expect(() => parseAgentAddress(text)).toThrow("is not an address");
    },
  );
});

describe("what logs are asked for", () => {
  const now = Date.parse("2030-01-31T12:00:00Z");
  const asked = (flags: Parameters<typeof queryOf>[0]): string => queryOf(flags, now).toString();

  test.each([
    [{}, ""],
    [{ follow: true, tail: "20" }, "follow=true&tail=20"],
    [{ timestamps: true, tail: "all" }, "tail=all&timestamps=true"],
    [{ since: "10m" }, `since=${now / 1_000 - 600}.000`],
    [{ since: "2030-01-31T11:00:00.5Z" }, `since=${now / 1_000 - 3_600}.500`],
  ])("%j", (flags, query) => {
    expect(asked(flags)).toBe(query);
  });

  test.each([{ tail: "-1" }, { tail: "many" }, { since: "yesterday" }, { since: "10" }, { since: "-5m" }])(
    "%j is refused",
    (flags) => {
      expect(() => asked(flags)).toThrow(/^--(tail|since): /);
    },
  );
});

test.each([
  ["http://10.0.0.5:9090", true],
  ["https://10.0.0.5:9090", false],
  ["http://127.0.0.1:9090", false],
  ["http://[::1]:9090", false],
  ["http://localhost.example.com:9090", true],
  ["http://127.example.com:9090", true],
  ["http://127.0.0.1.example.com:9090", true],
])("a token for %s crosses the network in clear text: %p", (url, clear) => {
  expect(tokenTravelsInClear({ name: "n", url, token: "t" })).toBe(clear);
  expect(tokenTravelsInClear({ name: "n", url, token: undefined })).toBeFalse();
});

test.each([
  [null, ""],
  ["chat", ""],
  ["bearer.secret", ""],
  ["bearer.secret, binary", "binary"],
  ["binary,tunnel.half-close", "tunnel.half-close"],
  ["binary2", ""],
])("of the subprotocols %j, %j is answered", (offered, chosen) => {
  expect<string>(chosenProtocol(offered)).toBe(chosen);
});

describe("the agent of this machine", () => {
  const listener = {
    address: "[::]:9090",
    trouble: null,
    tls: false,
    tunnels: 0,
    logs: 0,
    refused: 0,
    last_refusal: null,
  };
  const plane = (address: string | null, tls = false) => ({
    node: "web-1",
    projects: [{ name: "shop", phase: "Running", state: "running", note: "" }],
    listener: { ...listener, warnings: [], address, tls },
  });

  test.each([
    ["[::]:9090", "http://127.0.0.1:9090"],
    ["0.0.0.0:9090", "http://127.0.0.1:9090"],
    ["127.0.0.1:4711", "http://127.0.0.1:4711"],
    ["[::1]:9090", "http://[::1]:9090"],
    ["10.0.3.7:9090", "http://10.0.3.7:9090"],
  ])("that listens on %s is asked at %s for what it runs", (address, url) => {
    expect(placeOf(plane(address), "shop")).toEqual({ name: "web-1", url });
  });

  test("is not asked for other projects, nor where it does not listen, nor past its certificate", () => {
    expect(placeOf(plane("[::]:9090"), "other")).toBeUndefined();
    expect(placeOf(plane(null), "shop")).toBeUndefined();
    expect(placeOf(plane("[::]:9090", true), "shop")).toBeUndefined();
  });
});
