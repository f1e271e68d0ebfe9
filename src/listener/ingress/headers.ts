// Which headers pass the ingress, in each direction. Pure. Order, spelling and repetitions stay as they came.
import { type Framing, valuesOf } from "./request.ts";

/** Only for the next connection (RFC 9110, 7.6.1), besides those that Connection names. */
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

/** Set by us, from what we know: framing and host even where Connection names them. */
const OURS = new Set(["content-length", "host", "forwarded", "x-real-ip", "expect"]);

/**
 * What proxies and content networks add and applications believe: the client's address, the URL it asked for, who it has proved
 * to be. The ingress adds none of these, so whatever arrives was written by the client.
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
/** Some programs turn `Proxy` into HTTP_PROXY, and then call out through the client's proxy. */
const CLAIMS = new Set(["proxy", ...ADDRESS_CLAIMS.split(" "), ...IDENTITY_CLAIMS.split(" ")]);
const isClaim = (key: string): boolean =>
  CLAIMS.has(key) || CLAIM_PREFIXES.some((prefix) => key.startsWith(prefix));

export interface Forwarding {
  readonly authority: string;
  readonly framing: Framing;
  readonly method: string;
  /** The peer's address; IPv4 in IPv6 is written as IPv4. */
  readonly client: string;
  /** The client waits for the container's word before it sends the body. */
  readonly expects: boolean;
  /** The protocol it asks to change to. */
  readonly upgrade: string | undefined;
}

/** These have no body unless they say so; for others its absence must be said. */
const BODILESS = new Set(["GET", "HEAD", "DELETE", "OPTIONS"]);

/**
 * The ingress is the edge: nobody before it is known to be trusted. So whatever a client says of its own address, or of the
 * host and protocol that it came by, is replaced and never appended to; also written with underscores, which CGI and WSGI
 * cannot tell from hyphens.
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

/** `trailers`: whether some can follow to this client; otherwise they are not announced. */
export function responseHeaders(raw: readonly string[], trailers: boolean): string[] {
  const named = namedInConnection(raw);
  const headers: string[] = [];
  each(raw, (name, value) => {
    const key = name.toLowerCase();
    // A length is the framing of this hop, too: it stands, whatever Connection says.
    if (HOP_BY_HOP.has(key) || (named.has(key) && key !== "content-length")) return;
    if (key !== "trailer" || trailers) headers.push(name, value);
  });
  return headers;
}

/** Nothing may be said there that belongs to the head. */
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
