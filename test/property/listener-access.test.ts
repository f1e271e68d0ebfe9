// Access and frames of logs, whatever comes: addresses as the system reads them, no way in without a right, every cut alike.
import { expect, test } from "bun:test";
import { BlockList, isIP } from "node:net";
import * as fc from "fast-check";
import { countingKey, isInNetwork, parseIpAddress, parseNetwork } from "../../src/lib/address.ts";
import { accessPolicy, decideAccess } from "../../src/listener/access.ts";
import { parseLogQuery } from "../../src/listener/logs-query.ts";
import { ENDPOINT_PATHS, endpointOf } from "../../src/listener/endpoints.ts";
import { createUnframe } from "../../src/projects/docker/logs.ts";

const TOKEN = "correct-horse-battery";
const ipv4 = fc.ipV4();
const ipv6 = fc.ipV6();

test("an address is in a network exactly when the system says so", () => {
  const near = fc.tuple(ipv4, ipv4, fc.nat(32)).map(([a, b, bits]) => [a, b, bits, "ipv4"] as const);
  const far = fc.tuple(ipv6, ipv6, fc.nat(128)).map(([a, b, bits]) => [a, b, bits, "ipv6"] as const);
  // With a prefix of nothing but the first bits of the address itself, so that both answers come.
  const same = fc.tuple(ipv4, fc.nat(32)).map(([a, bits]) => [a, a, bits, "ipv4"] as const);
  fc.assert(
    fc.property(fc.oneof(near, far, same), ([address, base, bits, family]) => {
      const list = new BlockList();
      list.addSubnet(base, bits, family);
      const network = parseNetwork(`${base}/${bits}`);
      const parsed = parseIpAddress(address);
      if (network === undefined || parsed === undefined) throw new Error("not read");
      // The system keeps IPv4-mapped addresses apart from IPv4.
      fc.pre(network.family === (family === "ipv4" ? 4 : 6) && parsed.family === network.family);
      expect(isInNetwork(parsed, network)).toBe(list.check(address, family));
    }),
    { numRuns: 500 },
  );
});

test("an IPv4-mapped address, one with a zone or in another form is the same address", () => {
  fc.assert(
    fc.property(ipv4, ipv6, (v4, v6) => {
      const read = parseIpAddress(v4);
      expect(parseIpAddress(`::ffff:${v4}`)).toEqual(read as never);
      expect(parseIpAddress(`::FFFF:${v4}%eth0`)).toEqual(read as never);
      // Not every way to write it is known to URL.
      const written = URL.parse(`http://[${v6}]/`)?.hostname.slice(1, -1) ?? v6;
      expect(parseIpAddress(written)).toEqual(parseIpAddress(v6) as never);
      expect(countingKey(parseIpAddress(v6) ?? { family: 6, bits: 0n })).toMatch(/^[46]:/);
    }),
  );
});

/** Likely ones among unlikely ones. */
const headerValue = (...likely: string[]) =>
  fc.option(
    fc.oneof(
      fc.constantFrom(...likely),
      fc.string({ unit: fc.constantFrom(...Array.from("abcé.:/[]@,= %0")), maxLength: 20 }),
    ),
    { nil: undefined },
  );
const anyCaller = fc.record({
  peer: fc.oneof(ipv4, ipv6, fc.constantFrom("127.0.0.1", "::1", "::ffff:10.0.0.1", "10.0.0.1", "x")),
  origin: headerValue("null", "http://evil.com", "http://127.0.0.1:9090", "https://good.example.com"),
  host: headerValue("127.0.0.1:9090", "evil.com", "node-1"),
  authorization: headerValue(`Bearer ${TOKEN}`, "Bearer wrong", `Basic ${TOKEN}`),
  "sec-websocket-protocol": headerValue(
    `bearer.${Buffer.from(TOKEN).toString("base64url")}`,
    "binary, bearer.x",
    "bearer.",
  ),
  "x-forwarded-for": headerValue("1.2.3.4"),
});

const anyUser = fc.option(fc.record({ uid: fc.nat(3), trusted: fc.boolean() }), { nil: undefined });
const anySettings = fc.record({
  listen_token: fc.option(fc.constant(TOKEN), { nil: undefined }),
  listen_local: fc.constantFrom("docker" as const, "everybody" as const),
});

test("nobody gets in but by the token, as a user who may, or from a listed network; and no page of another site ever", () => {
  const counts = { in: 0, out: 0 };
  fc.assert(
    fc.property(anyCaller, anyUser, anySettings, ({ peer, ...given }, local, settings) => {
      const policy = accessPolicy(
        { listen_allow: ["10.0.0.0/8"], listen_origins: ["https://good.example.com"], ...settings },
        ["node-1"],
      );
      const headers = new Headers();
      for (const [name, value] of Object.entries(given))
        if (value !== undefined && /^[\x20-\x7e]*$/.test(value)) headers.set(name, value);
      const verdict = decideAccess({ peer, headers, local }, policy);
      counts[verdict.allowed ? "in" : "out"]++;
      const origin = headers.get("origin");
      if (!verdict.allowed) {
        expect(verdict.detail).not.toContain(TOKEN);
        return;
      }
      if (origin !== null)
        expect(["https://good.example.com", `http://${headers.get("host")}`]).toContain(origin);
      const read = parseIpAddress(peer);
      const isLocal = peer === "::1" || (read?.family === 4 && read.bits >> 24n === 127n);
      const isListed = read?.family === 4 && read.bits >> 24n === 10n;
      if (verdict.by === "token") {
        expect(settings.listen_token).toBe(TOKEN);
        const presented = headers.get("authorization") ?? headers.get("sec-websocket-protocol") ?? "";
        expect(
          presented.includes(TOKEN) || presented.includes(Buffer.from(TOKEN).toString("base64url")),
        ).toBe(true);
      } else {
        expect(headers.has("authorization")).toBe(false);
        expect(headers.get("host") ?? "").toMatch(/^(127\.0\.0\.1:9090|node-1)$|^[\d.]+$|^\[|localhost/);
        const isTrusted =
          settings.listen_local === "everybody"
            ? isLocal || local !== undefined
            : settings.listen_token === undefined && local?.trusted === true;
        expect(verdict.by === "network" ? isListed : isTrusted && !headers.has("x-forwarded-for")).toBe(true);
      }
    }),
    { numRuns: 3_000 },
  );
  expect(counts.in).toBeGreaterThan(50);
  expect(counts.out).toBeGreaterThan(50);
});

test("any path and any query is a route or a problem", () => {
  const part = fc.oneof(
    fc.constantFrom(
      "api",
      "v1",
      "forward",
      "logs",
      "shop",
      "web",
      "80",
      "..",
      "%2e%2e",
      "%2f",
      "%00",
      "%",
      "",
    ),
    fc.string({ unit: "binary", maxLength: 8 }),
  );
  const path = fc.array(part, { maxLength: 8 }).map((parts) => `/${parts.join("/")}`);
  fc.assert(
    fc.property(fc.oneof(path, fc.string({ unit: "binary" })), fc.string(), (path, query) => {
      for (const url of [path, `http://127.0.0.1${path}`, `${path}?${query}`]) {
        const route = endpointOf("GET", url);
        if (route.to === "logs" || route.to === "forward")
          expect(`${route.project} ${route.service}`).toMatch(/^[a-z0-9.-]+ [a-zA-Z0-9_.-]+$/);
      }
      parseLogQuery(new URLSearchParams(query), 0);
    }),
    { numRuns: 2_000 },
  );
});

/** As Docker writes it. */
function frame(stream: number, bytes: Uint8Array): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

function feed(whole: Buffer, cuts: readonly number[]): Buffer {
  const unframe = createUnframe();
  const places = [...cuts.map((cut) => cut % (whole.length + 1)), whole.length].sort((a, b) => a - b);
  // Copied at once, as a consumer would who sends it off.
  return Buffer.concat(
    places.map((end, k) => Buffer.from(unframe(whole.subarray(k === 0 ? 0 : places[k - 1], end)))),
  );
}

const bytes = fc.uint8Array({ maxLength: 40 });
const someCuts = fc.array(fc.nat(), { maxLength: 30 });

test("frames give the same bytes however they are cut", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(3), bytes), { maxLength: 8 }), someCuts, (frames, cuts) => {
      const whole = Buffer.concat(frames.map(([stream, content]) => frame(stream, content)));
      const content = Buffer.concat(frames.map(([, content]) => content));
      expect(feed(whole, cuts).equals(content)).toBe(true);
      expect(feed(whole, [...whole.keys()]).equals(content)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test("what has no frames comes through as it is, however it is cut", () => {
  const plain = bytes.filter((content) => content.length > 0 && (content[0] ?? 0) > 3);
  fc.assert(
    fc.property(plain, someCuts, (content, cuts) => {
      expect(feed(Buffer.from(content), cuts).equals(Buffer.from(content))).toBe(true);
    }),
  );
});

test("a path with dot segments is never what Bun matches and what the URL means, both", () => {
  const dots = fc.constantFrom(".", "..", "%2e", "%2E%2e", ".%2e");
  const part = fc.oneof(
    fc.constantFrom("api", "v1", "logs", "forward", "shop", "web", "80", "healthz"),
    dots,
  );
  fc.assert(
    fc.property(
      fc
        .array(part, { minLength: 1, maxLength: 8 })
        .filter((parts) => parts.some((one) => /^(\.|%2e)+$/i.test(one))),
      (parts) => {
        const matched = ENDPOINT_PATHS.find((path) => {
          const wanted = path.split("/").slice(1);
          return (
            wanted.length === parts.length &&
            wanted.every((one, at) => one.startsWith(":") || one === parts[at])
          );
        });
        const route = endpointOf("GET", `http://127.0.0.1/${parts.join("/")}`);
        expect(matched === undefined || route.to === "problem").toBe(true);
      },
    ),
    { numRuns: 3_000, examples: [[["api", "v1", "forward", "shop", "web", "."]]] },
  );
});

test("isIP and this reader agree on what is an address", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...Array.from("0123456789abcdef:.")) }), (text) => {
      expect(parseIpAddress(text) !== undefined).toBe(isIP(text) !== 0);
    }),
    { numRuns: 1_000 },
  );
});
