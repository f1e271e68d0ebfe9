// What fetch throws has many spellings; what follows from it has few.
import { expect, test } from "bun:test";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { seconds } from "../../../src/lib/duration.ts";
import { mayHaveArrived, networkError } from "../../../src/control/network-error.ts";
import { forever } from "./servers.ts";

const thrown = (code: string): Error => Object.assign(new Error(`message of ${code}`), { code });
const kindOf = (error: unknown, signal = forever): string =>
  networkError(error, "https://plane", seconds(10), signal).code;

test.each([
  ["ECONNREFUSED", "net.refused"],
  ["ConnectionRefused", "net.refused"],
  ["FailedToOpenSocket", "net.refused"],
  ["ENOTFOUND", "net.unresolved"],
  ["EAI_AGAIN", "net.unresolved"],
  ["DNS_ENOTFOUND", "net.unresolved"],
  ["ECONNRESET", "net.reset"],
  ["EPIPE", "net.reset"],
  ["SomethingNew", "net.reset"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "tls.untrusted"],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "tls.untrusted"],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "tls.untrusted"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "tls.name"],
  ["CERT_HAS_EXPIRED", "tls.expired"],
  ["CERT_NOT_YET_VALID", "tls.expired"],
])("%s is %s", (code, kind) => {
  expect(kindOf(thrown(code))).toBe(kind);
});

test("a timeout is distinguished from our own abort", () => {
  expect(kindOf(new DOMException("t", "TimeoutError"))).toBe("net.timeout");
  expect(kindOf(new DOMException("t", "TimeoutError"), AbortSignal.abort())).toBe("aborted");
});

test("what was thrown need not be an error", () => {
  expect(kindOf("gone")).toBe("net.reset");
  expect(kindOf(undefined)).toBe("net.reset");
});

test.each([
  ["net.refused", undefined, false],
  ["net.unresolved", undefined, false],
  ["tls.untrusted", undefined, false],
  ["tls.expired", undefined, false],
  ["net.reset", undefined, true],
  ["net.timeout", undefined, true],
  ["aborted", undefined, true],
  ["http.answer", undefined, true],
  ["http.status", 400, false],
  ["http.status", 401, false],
  ["http.status", 429, false],
  ["http.status", 500, true],
  ["http.status", 504, true],
] as const)("after %s (%p) the server may have handled the request: %p", (code, status, may) => {
  expect(mayHaveArrived(new AgentError(code, "", { status }))).toBe(may);
});

test("after an error nobody foresaw the server may have handled the request", () => {
  expect(mayHaveArrived(new TypeError("x"))).toBe(true);
});
