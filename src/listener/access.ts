// Decides who may use tunnels and logs. Pure.
//
//   Origin of another site, not in listen_origins ─▶ 403: a page must not act for the person who reads it
//   no Origin, but loaded by a page of another origin (an image, a frame; following a link is allowed) ─▶ 403
//   a token ─▶ correct: allowed, from anywhere;  wrong: 401, even from this machine, so that a mistake is noticed
//   no token ─▶ address in listen_allow: allowed
//            ─▶ this machine: every user with listen_local "everybody"; else 401 if listen_token is set; else allowed for users who
//               can use Docker anyway, 403 for others
//            ─▶ from elsewhere: 403
//            ─▶ then the Host must be an address or name of this node, else 421: a page can make any name resolve to it
//
// A refusal names the caller and the settings that would allow it, never the values of those settings.
import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import {
  type IpNetwork,
  isInNetwork,
  isLoopback,
  parseHostPort,
  parseIpAddress,
  parseNetwork,
  unmapped,
} from "../lib/address.ts";
import type { LocalClient } from "./local-client.ts";

export interface AccessPolicy {
  readonly networks: readonly IpNetwork[];
  readonly token: string | undefined;
  readonly local: LocalUsers;
  /** Names under which this node may be called, in lower case, besides addresses and localhost. */
  readonly hosts: ReadonlySet<string>;
  /** In the form browsers send: "https://console.example.com". */
  readonly origins: ReadonlySet<string>;
}

/** Which users of this machine need no token: those who can use Docker (if no token is set), or every user. */
export type LocalUsers = "docker" | "everybody";

export interface AccessSettings {
  readonly listen_allow?: readonly string[] | undefined;
  readonly listen_token?: string | undefined;
  readonly listen_local?: LocalUsers | undefined;
  readonly listen_hosts?: readonly string[] | undefined;
  readonly listen_origins?: readonly string[] | undefined;
}

/** The parts of a request that decide. */
export interface Caller {
  /** The address at the other end of the connection. */
  readonly peer: string;
  readonly headers: Pick<Headers, "get" | "has">;
  /** The caller's user on this machine; `undefined` for a remote caller, and before the user was looked up. */
  readonly local?: LocalClient | undefined;
}

export type AccessDecision =
  | { readonly allowed: true; readonly by: "token" | "local" | "network" }
  | {
      readonly allowed: false;
      readonly status: 401 | 403 | 421;
      readonly detail: string;
      readonly why: Why;
    };

/** "token": a wrong one. "no token": one is required. "address": may change once the local user is known. */
type Why = "origin" | "token" | "no token" | "address" | "user" | "host";

/** Builds the policy from the settings. `names` are those of the machine and the node. */
export function accessPolicy(settings: AccessSettings, names: readonly string[]): AccessPolicy {
  const { listen_allow = [], listen_hosts = [], listen_origins = [], listen_token } = settings;
  const { listen_local = "docker" } = settings;
  return {
    networks: listen_allow.map(parseNetwork).filter((network) => network !== undefined),
    token: listen_token,
    local: listen_local,
    hosts: new Set([...names, ...listen_hosts].map(tidyName).filter((name) => name !== "")),
    origins: new Set(listen_origins.map(tidyOrigin)),
  };
}

/** Decides whether a caller is admitted, and if not, what it is answered. Pure. */
export function decideAccess(caller: Caller, policy: AccessPolicy): AccessDecision {
  const { headers } = caller;
  const origin = headers.get("origin");
  const host = headers.get("host") ?? "";
  if (origin !== null && !isOwnOrigin(origin, host) && !policy.origins.has(tidyOrigin(origin)))
    return refuse(403, "origin", "pages of this origin are not let in: it is not in listen_origins");
  if (origin === null && isLoadedByAnother(headers))
    return refuse(403, "origin", "what a page of another origin loads is not let in");
  const tokens = presentedTokens(headers);
  if (tokens.length > 0) {
    const isRight = policy.token !== undefined && tokens.every((token) => isSame(token, policy.token ?? ""));
    return isRight
      ? { allowed: true, by: "token" }
      : refuse(401, "token", "this is not the token of listen_token");
  }
  const decision = decideByPlace(caller, policy);
  if (decision.allowed && !isOwnName(host, policy.hosts))
    return refuse(421, "host", "the host that was asked for is no name of this node, nor in listen_hosts");
  return decision;
}

/** Decides without a token: by the caller's network, or by its user on this machine. */
function decideByPlace({ peer, headers, local }: Caller, policy: AccessPolicy): AccessDecision {
  const address = parseIpAddress(peer);
  if (address !== undefined && policy.networks.some((network) => isInNetwork(address, network)))
    return { allowed: true, by: "network" };
  const isLoop = address !== undefined && isLoopback(address);
  const isHere = (isLoop || local !== undefined) && !FORWARDED.some((name) => headers.has(name));
  if (isHere && policy.local === "everybody") return { allowed: true, by: "local" };
  if (isHere && policy.token !== undefined)
    return refuse(401, "no token", "the token of listen_token is asked for, of users of this machine too");
  if (isHere && local?.trusted === true) return { allowed: true, by: "local" };
  if (isHere && local !== undefined) return refuse(403, "user", userRefusal(local.uid));
  // Written by the kernel; whatever else it were would not be repeated.
  const who = address === undefined ? "this address" : unmapped(peer);
  const detail = `${who} may not ask: listen_allow=${who} at this node would let it in without a token, listen_token with one`;
  return refuse(403, "address", detail);
}

const userRefusal = (uid: number): string =>
  `user ${uid} of this machine may not ask, being neither root nor in the group of Docker's socket: ` +
  "listen_local=everybody would let every user in, listen_token those who have it";

/** Returns the CORS headers for a page of `listen_origins`; none for other callers. */
export function readableBy(
  headers: Pick<Headers, "get">,
  { origins }: AccessPolicy,
): Readonly<Record<string, string>> {
  const origin = headers.get("origin");
  if (origin === null || !origins.has(tidyOrigin(origin))) return {};
  return { "access-control-allow-origin": origin, vary: "Origin" };
}

const refuse = (
  status: 401 | 403 | 421,
  why: Why,
  detail: string,
): Extract<AccessDecision, { readonly allowed: false }> => ({
  allowed: false,
  status,
  detail,
  why,
});

const BEARER_PROTOCOL = "bearer.";

/**
 * Returns the tokens of `Authorization` and of `Sec-WebSocket-Protocol`, which a browser's WebSocket can send instead. A malformed
 * one is `undefined`.
 */
export function presentedTokens(headers: Pick<Headers, "get">): readonly (string | undefined)[] {
  const authorization = headers.get("authorization");
  const tokens = (headers.get("sec-websocket-protocol") ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name.startsWith(BEARER_PROTOCOL))
    .map((name): string | undefined => decodeBase64Url(name.slice(BEARER_PROTOCOL.length)));
  if (authorization !== null) tokens.push(/^bearer +(\S+)$/i.exec(authorization.trim())?.[1]);
  return tokens;
}

const decodeBase64Url = (text: string): string | undefined =>
  /^[\w-]+=*$/.test(text) ? Buffer.from(text, "base64url").toString("utf8") : undefined;

/** Compares in constant time, whatever the length. */
function isSame(presented: string | undefined, token: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(presented ?? ""), digest(token)) && presented !== undefined;
}

/** Headers that proxies add: such a request does not come from the user at the other end of the connection. */
const FORWARDED = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/**
 * Tells whether a page of another origin loads this, as an image or frame, which sends no Origin. The page cannot read the
 * answer, but sees whether there is one, and occupies a log stream. Browsers send these headers to localhost and over HTTPS.
 */
function isLoadedByAnother(headers: Pick<Headers, "get">): boolean {
  const site = headers.get("sec-fetch-site");
  if (site === null || site === "none" || site === "same-origin") return false;
  return headers.get("sec-fetch-mode") !== "navigate" || headers.get("sec-fetch-dest") !== "document";
}

/** Tells whether the Origin is this server itself, as the Host header names it. */
function isOwnOrigin(origin: string, host: string): boolean {
  const page = URL.parse(origin);
  if (page === null || (page.protocol !== "http:" && page.protocol !== "https:")) return false;
  // Both parsed as URLs, which drops a default port on both sides.
  return page.host !== "" && page.host === URL.parse(`${page.protocol}//${host}`)?.host;
}

function isOwnName(host: string, names: ReadonlySet<string>): boolean {
  // Two Host headers arrive as one, with a comma.
  const written = parseHostPort(host)?.host ?? "";
  const name = tidyName(written);
  return isIP(written) > 0 || name === "localhost" || name.endsWith(".localhost") || names.has(name);
}

/** "Node-1.example.com." is node-1.example.com; a port is not part of a name. */
const tidyName = (name: string): string => name.trim().toLowerCase().replace(/:\d+$/, "").replace(/\.$/, "");

/** Normalizes an origin. A URL of a browser's own scheme (chrome-extension://…) has no origin: it is kept as written. */
function tidyOrigin(text: string): string {
  const tidy = text.trim().toLowerCase().replace(/\/+$/, "");
  const origin = URL.parse(tidy)?.origin ?? "null";
  return origin === "null" ? tidy : origin;
}
