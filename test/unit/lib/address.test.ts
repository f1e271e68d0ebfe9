// Addresses as people write them: networks, host and port, Docker's address.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  formatHostPort,
  isLoopbackHost,
  networkProblem,
  parseDockerAddress,
  parseHostPort,
  parseNetwork,
  portOfUrl,
} from "../../../src/lib/address.ts";

test("a network of IPv4-mapped addresses equals the IPv4 network with a prefix shorter by 96", () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.nat(32), (address, prefix) => {
      const mapped = parseNetwork(`::ffff:${address}/${prefix + 96}`);
      expect(mapped).toBeDefined();
      expect(mapped).toEqual(parseNetwork(`${address}/${prefix}`) as never);
    }),
  );
});

test.each([
  ["::ffff:10.0.0.0/8", "10.0.0.0/8"],
  ["::ffff:a00:0/8", "10.0.0.0/8"],
  ["::ffff:10.1.2.3/95", "10.1.2.3/32"],
])("%s is no network: the problem names %s", (text, right) => {
  expect(parseNetwork(text)).toBeUndefined();
  expect(networkProblem(text)).toBe(`${text} may mean IPv4 or IPv6; write ${right}`);
});

test.each(["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "fd00::/129", "office", ""])(
  "%j is no network",
  (text) => {
    expect(parseNetwork(text)).toBeUndefined();
    expect(networkProblem(text)).toBe(text);
  },
);

test("host and port come back from the text that was made of them", () => {
  const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom("localhost", "node-1.example.com"));
  fc.assert(
    fc.property(host, fc.nat(65_535), (host, port) => {
      expect(parseHostPort(formatHostPort(host, port))).toEqual({ host, port });
    }),
  );
});

test.each(["a b:80", "::1:80", "[::1", "[1.2.3.4]:80", "host:65536", "user@host:1", "host/path", "host:"])(
  "%j is no host with a port",
  (text) => expect(parseHostPort(text)).toBeUndefined(),
);

test.each([
  ["localhost", true],
  ["api.localhost.", true],
  ["127.9.9.9", true],
  ["[::1]", true],
  ["::ffff:127.0.0.1", true],
  ["127.0.0.1.example.com", false],
  ["[::2]", false],
  ["0.0.0.0", false],
])("%s can only be this machine: %p", (host, own) => expect(isLoopbackHost(host)).toBe(own));

test("TLS files turn a tcp:// address of Docker into https on 2376", () => {
  expect(parseDockerAddress("tcp://host", true)).toEqual({ protocol: "https", host: "host", port: 2376 });
  expect(parseDockerAddress("tcp://host:80", false)).toEqual({ protocol: "http", host: "host", port: 80 });
  expect(parseDockerAddress("ssh://host", false)).toBeUndefined();
});

test("a URL without a port has that of its scheme", () => {
  expect(["http://a", "https://a", "https://a:80"].map((url) => portOfUrl(new URL(url)))).toEqual([
    80, 443, 80,
  ]);
});
