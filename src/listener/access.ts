// Who may use tunnels and logs. Pure.
//
//   Origin of another site, not in listen_origins ─▶ 403, whoever asks: a page must not act for who reads it
//   no Origin, but loaded by a page of another origin (an image, a frame; a link is followed) ─▶ 403
//   a token ─▶ right: may, from anywhere;  wrong: 401, even from this machine, so that a mistake is seen
//   no token ─▶ listen_allow: may
//            ─▶ this machine: any user with listen_local "everybody"; else 401 where listen_token is set; else who may use Docker
//               here anyway, and 403 for the other users
//            ─▶ from elsewhere: 403
//            ─▶ called by an address or a name of this node; else 421, since a page can make any name lead here
//
// A refusal names who was refused and the settings that would allow it, and nothing of what they hold.
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
  /** In lower case: names under which this node may be called, besides addresses and localhost. */
  readonly hosts: ReadonlySet<string>;
  /** As browsers write them: "https://console.example.com". */
  readonly origins: ReadonlySet<string>;
}

/** Who of this machine needs no token: who may use Docker, while none is set; or every user. */
export type LocalUsers = "docker" | "everybody";

export interface AccessSettings {
  readonly listen_allow?: readonly string[] | undefined;
  readonly listen_token?: string | undefined;
  readonly listen_local?: LocalUsers | undefined;
  readonly listen_hosts?: readonly string[] | undefined;
  readonly listen_origins?: readonly string[] | undefined;
}

/** What of a request decides. */
export interface Caller {
  /** The address at the other end of the connection. */
  readonly peer: string;
  readonly headers: Pick<Headers, "get" | "has">;
  /** Who it is on this machine; undefined for one that is elsewhere, or was not looked for yet. */
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

/** "token" is a wrong one; "no token" where one is asked for; "address" may change once the local client is known. */
type Why = "origin" | "token" | "no token" | "address" | "user" | "host";

/** `names` are those of the machine and of the node. */
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

export function decide(caller: Caller, policy: AccessPolicy): AccessDecision {
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
  const verdict = decideByPlace(caller, policy);
  if (verdict.allowed && !isOwnName(host, policy.hosts))
    return refuse(421, "host", "the host that was asked for is no name of this node, nor in listen_hosts");
  return verdict;
}

/** Without a token: by the network it comes from, or by who it is on this machine. */
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

/** Headers for an answer that a page of `listen_origins` may read; none for all others. */
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

/** Of `Authorization` and of what a browser's WebSocket can send instead; undefined is one that cannot be a token. */
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

/** Takes the same time whatever differs, the length included. */
function isSame(presented: string | undefined, token: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(presented ?? ""), digest(token)) && presented !== undefined;
}

/** What proxies add: such a request comes from somebody else than who is at the other end of the connection. */
const FORWARDED = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/**
 * What a page loads without asking for leave to read it comes without an Origin: an answer that stays unread still says what
 * there is, and holds a place among the logs. Browsers tell of it where they trust the way: localhost, and HTTPS.
 */
function isLoadedByAnother(headers: Pick<Headers, "get">): boolean {
  const site = headers.get("sec-fetch-site");
  if (site === null || site === "none" || site === "same-origin") return false;
  return headers.get("sec-fetch-mode") !== "navigate" || headers.get("sec-fetch-dest") !== "document";
}

/** A page that this very server sent, or a program that writes the address it calls. */
function isOwnOrigin(origin: string, host: string): boolean {
  const page = URL.parse(origin);
  if (page === null || (page.protocol !== "http:" && page.protocol !== "https:")) return false;
  // So that a default port is left out on both sides.
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

/** Of browsers' own schemes (chrome-extension://…) a URL has no origin: they stand as they are. */
function tidyOrigin(text: string): string {
  const tidy = text.trim().toLowerCase().replace(/\/+$/, "");
  const origin = URL.parse(tidy)?.origin ?? "null";
  return origin === "null" ? tidy : origin;
}
