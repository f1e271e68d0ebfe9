// The proxy that an installer was given, in the form that the service reads.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { proxyEnvironment } from "../../../src/platform/proxy-environment.ts";

test("without a proxy there is nothing to keep", () => {
  expect(proxyEnvironment({ NO_PROXY: "localhost", HTTPS_PROXY: "" })).toBeUndefined();
});

test("keeps every variable once, lower case first", () => {
  const env = { https_proxy: "http://a:1", HTTPS_PROXY: "http://b:1", NO_PROXY: "localhost,.example.com" };
  expect(proxyEnvironment(env)).toBe("HTTPS_PROXY='http://a:1'\nNO_PROXY='localhost,.example.com'\n");
});

test("a shell reads any value as one word and runs nothing", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), (value) => {
      const text = proxyEnvironment({ HTTP_PROXY: value }) ?? "";
      expect(text).toMatch(/^HTTP_PROXY='[^'\\\p{Cc}]*'\n$/u);
    }),
  );
  const text = proxyEnvironment({ HTTP_PROXY: "http://u:a'b\\c$(id)@h:1" }) ?? "";
  const { stdout } = Bun.spawnSync(["sh", "-c", `set -a; ${text}env`], {
    env: { PATH: process.env["PATH"] },
  });
  expect(stdout.toString()).toContain("HTTP_PROXY=http://u:a%27b%5Cc$(id)@h:1\n");
});
