// What a request to the ingress asks for: which host, which path, what body. Pure; what it refuses is answered with 400.

export interface Asked {
  /** The host to look up: in lower case, without a port or a dot at its end. */
  readonly host: string;
  /** As the client wrote it: what the container is told. */
  readonly authority: string;
  /** As the client wrote it, never decoded or normalised. */
  readonly path: string;
}

/** "chunked"; a length, as it was written; undefined for no body. */
export type Framing = "chunked" | { readonly length: string } | undefined;

/** Names and addresses, with a port or without. */
const AUTHORITY = /^(\[[\da-f:.]+\]|[\w.-]+)(?::\d{0,5})?$/i;
const AUTHORITY_MAX = 300;
/** The form that clients of proxies use; the authority in it counts more than the Host header (RFC 9112, 3.2.2). */
const ABSOLUTE = /^http:\/\/([^/?#]*)(.*)$/i;

/** "Web.Example.com.:8080" → "web.example.com"; undefined for what is no host. */
export function hostOf(authority: string): string | undefined {
  if (authority.length > AUTHORITY_MAX) return undefined;
  return AUTHORITY.exec(authority)?.[1]?.toLowerCase().replace(/\.$/, "");
}

/** `rawHeaders` as Node has them: names and values by turns. Undefined for a request that nobody may answer. */
export function askedOf(target: string, rawHeaders: readonly string[]): Asked | undefined {
  const [named, ...more] = valuesOf("host", rawHeaders);
  if (named === undefined || more.length > 0) return undefined;
  const absolute = ABSOLUTE.exec(target);
  const authority = absolute?.[1] ?? named;
  const host = hostOf(authority);
  if (host === undefined || hostOf(named) === undefined) return undefined;
  const path = absolute === null ? target : originForm(absolute[2] ?? "");
  return path.startsWith("/") || path === "*" ? { host, authority, path } : undefined;
}

const originForm = (rest: string): string => (rest.startsWith("/") ? rest : `/${rest}`);

/**
 * What stands between requests on one connection must be understood by both sides in the same way. The parser has refused
 * lengths that contradict each other; other codings than chunked are ours to refuse: "refused".
 */
export function framingOf(version: string, rawHeaders: readonly string[]): Framing | "refused" {
  const codings = valuesOf("transfer-encoding", rawHeaders);
  const lengths = valuesOf("content-length", rawHeaders);
  if (codings.length > 0) {
    const isPlain = codings.length === 1 && codings[0]?.toLowerCase() === "chunked";
    return isPlain && lengths.length === 0 && version !== "1.0" ? "chunked" : "refused";
  }
  if (lengths.length > 1) return "refused";
  const [length] = lengths;
  if (length === undefined) return undefined;
  return /^\d{1,15}$/.test(length) ? { length } : "refused";
}

export function valuesOf(name: string, rawHeaders: readonly string[]): string[] {
  const values: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2)
    if (rawHeaders[at]?.toLowerCase() === name) values.push(rawHeaders[at + 1] ?? "");
  return values;
}
