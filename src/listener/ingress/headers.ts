// Decides which headers pass the ingress in each direction. Pure. Order, spelling and repetitions are kept.
import { type Framing, valuesOf } from "./request.ts";

/** Headers of one hop only (RFC 9110, 7.6.1); those that Connection names are added to them. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/** Headers that the ingress writes itself. */
const OURS = new Set(["content-length", "host", "forwarded", "x-real-ip", "expect"]);

/**
 * Headers that proxies and CDNs add and applications trust: the client's address, the original URL, an authenticated identity. No
 * trusted proxy is before the ingress, so all of them were written by the client and are removed.
 */
const CLAIM_PREFIXES = [
  "x-forwarded-",
  "x-original-",
  "x-rewrite-",
  "cf-connecting-",
  "x-ssl-client-",
  "ssl-client-",
];
const ADDRESS_CLAIMS =
  "x-forwarded true-client-ip x-true-client-ip x-client-ip client-ip x-cluster-client-ip fastly-client-ip proxy-client-ip " +
  "wl-proxy-client-ip x-proxyuser-ip x-remote-ip x-remote-addr remote-addr x-envoy-external-address x-azure-clientip " +
  "x-azure-socketip x-appengine-user-ip fly-client-ip do-connecting-ip x-nf-client-connection-ip cf-pseudo-ipv4 x-host";
const IDENTITY_CLAIMS =
  "x-client-cert x-client-verify x-client-dn x-remote-user remote-user x-webauth-user x-authenticated-user " +
  "x-auth-request-user x-auth-request-email";
/** CGI programs turn `Proxy` into HTTP_PROXY, and would send their requests through the client's proxy (httpoxy). */
const CLAIMS = new Set(["proxy", ...ADDRESS_CLAIMS.split(" "), ...IDENTITY_CLAIMS.split(" ")]);
const isClaim = (key: string): boolean =>
  CLAIMS.has(key) || CLAIM_PREFIXES.some((prefix) => key.startsWith(prefix));

export interface Forwarding {
  readonly authority: string;
  readonly framing: Framing;
  readonly method: string;
  /** The peer's address; IPv4-mapped IPv6 is written as IPv4. */
  readonly client: string;
  /** The client waits for "100 Continue" before it sends the body. */
  readonly expects: boolean;
  /** The protocol the client asks to upgrade to; `undefined` for none. */
  readonly upgrade: string | undefined;
}

/** Methods without a body by default; other requests without one need Content-Length 0. */
const BODILESS = new Set(["GET", "HEAD", "DELETE", "OPTIONS"]);

/**
 * Returns the headers for the container. No proxy before the ingress is trusted: what a client claims about its address, host and
 * protocol is replaced, never appended to; also when written with underscores, which CGI and WSGI treat as hyphens.
 */
export function requestHeaders(raw: readonly string[], forwarding: Forwarding): string[] {
  const { authority, framing, method, client, expects, upgrade } = forwarding;
  const named = namedInConnection(raw);
  const headers = ["Host", authority];
  each(raw, (name, value) => {
    const key = name.toLowerCase().replaceAll("_", "-");
    if (!named.has(key) && !HOP_BY_HOP.has(key) && !OURS.has(key) && !isClaim(key)) headers.push(name, value);
  });
  headers.push("X-Forwarded-For", client, "X-Forwarded-Host", authority, "X-Forwarded-Proto", "http");
  headers.push("X-Real-IP", client);
  if (framing === "chunked") headers.push("Transfer-Encoding", "chunked");
  else if (framing !== undefined) headers.push("Content-Length", framing.length);
  else if (!BODILESS.has(method)) headers.push("Content-Length", "0");
  if (expects) headers.push("Expect", "100-continue");
  if (upgrade !== undefined) headers.push("Connection", "Upgrade", "Upgrade", upgrade);
  else if (takesTrailers(raw)) headers.push("Connection", "keep-alive, TE", "TE", "trailers");
  else headers.push("Connection", "keep-alive");
  return headers;
}

/** Returns the headers for the client. `trailers`: whether trailers can be sent to it; else `Trailer` is removed. */
export function responseHeaders(raw: readonly string[], trailers: boolean): string[] {
  const named = namedInConnection(raw);
  const headers: string[] = [];
  each(raw, (name, value) => {
    const key = name.toLowerCase();
    // The length frames this hop, too: it is kept even when Connection names it.
    if (HOP_BY_HOP.has(key) || (named.has(key) && key !== "content-length")) return;
    if (key !== "trailer" || trailers) headers.push(name, value);
  });
  return headers;
}

/** Returns the trailers to pass on: none that belong in the head of a message. */
export function trailersOf(raw: readonly string[]): [string, string][] {
  const trailers: [string, string][] = [];
  each(raw, (name, value) => {
    const key = name.toLowerCase().replaceAll("_", "-");
    if (!HOP_BY_HOP.has(key) && !OURS.has(key) && !isClaim(key) && key !== "trailer")
      trailers.push([name, value]);
  });
  return trailers;
}

const takesTrailers = (raw: readonly string[]): boolean =>
  valuesOf("te", raw).some((value) => /(?:^|,)\s*trailers\s*(?:,|$)/i.test(value));

function namedInConnection(raw: readonly string[]): Set<string> {
  const names = valuesOf("connection", raw).flatMap((value) => value.split(","));
  return new Set(names.map((name) => name.trim().toLowerCase()));
}

function each(raw: readonly string[], take: (name: string, value: string) => void): void {
  for (let at = 0; at + 1 < raw.length; at += 2) take(raw[at] ?? "", raw[at + 1] ?? "");
}
