// Parses host, path and body framing of a request to the ingress. Pure. What it rejects is answered with 400.

export interface RequestTarget {
  /** The host to look up, in lower case, without port and trailing dot. */
  readonly host: string;
  /** As the client wrote it; passed on to the container. */
  readonly authority: string;
  /** As the client wrote it, never decoded or normalised. */
  readonly path: string;
}

/** "chunked"; a length as written; `undefined` for no body. */
export type Framing = "chunked" | { readonly length: string } | undefined;

/** A name or address, with or without a port. */
const AUTHORITY = /^(\[[\da-f:.]+\]|[\w.-]+)(?::\d{0,5})?$/i;
const AUTHORITY_MAX = 300;
/** The form that clients send to proxies. Its authority overrides the Host header (RFC 9112, 3.2.2). */
const ABSOLUTE = /^http:\/\/([^/?#]*)(.*)$/i;

/** Returns the host of "Web.Example.com.:8080": "web.example.com"; `undefined` for what is not a host. */
export function hostOf(authority: string): string | undefined {
  if (authority.length > AUTHORITY_MAX) return undefined;
  return AUTHORITY.exec(authority)?.[1]?.toLowerCase().replace(/\.$/, "");
}

/** Returns host and path of a request; `undefined` for an ambiguous one. `rawHeaders` alternates names and values, as in Node. */
export function askedOf(target: string, rawHeaders: readonly string[]): RequestTarget | undefined {
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
 * Returns the body framing, or "refused" for an ambiguous one: both hops must agree where a request ends (request smuggling). Node's
 * parser rejects contradictory lengths; transfer codings other than chunked are rejected here.
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

/** Returns all values of a header, named in lower case. */
export function valuesOf(name: string, rawHeaders: readonly string[]): string[] {
  const values: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2)
    if (rawHeaders[at]?.toLowerCase() === name) values.push(rawHeaders[at + 1] ?? "");
  return values;
}
