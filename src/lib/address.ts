// Addresses: IP addresses and networks, host and port, where a server listens, where Docker is. Pure.
import { isIP } from "node:net";

export interface IpAddress {
  readonly family: 4 | 6;
  readonly bits: bigint;
}

export interface IpNetwork extends IpAddress {
  readonly prefix: number;
}

const WIDTH = { 4: 32, 6: 128 } as const;
/** ::ffff:0:0/96 holds the IPv4-mapped addresses: a socket for both families shows IPv4 clients by them. */
const MAPPED = 0xffffn;
const MAPPED_PREFIX = 96;

/** Reads an IP address without its zone; an IPv4-mapped IPv6 address is an IPv4 address. Undefined for other text. */
export function parseIpAddress(text: string): IpAddress | undefined {
  const bare = text.replace(/%[^/]*$/, "");
  switch (isIP(bare)) {
    case 4:
      return { family: 4, bits: bitsOf4(bare) };
    case 6: {
      const bits = bitsOf6(bare);
      return bits >> 32n === MAPPED ? { family: 4, bits: bits & 0xffff_ffffn } : { family: 6, bits };
    }
    default:
      return undefined;
  }
}

/** Removes the prefix of an IPv4-mapped address: "::ffff:192.0.2.1" is "192.0.2.1". */
export const unmapped = (text: string): string => text.replace(/^::ffff:(?=\d+\.)/i, "");

/** Reads "10.0.0.0/8", "fd00::/8" or one address. Undefined for what `networkProblem` complains of. */
export function parseNetwork(text: string): IpNetwork | undefined {
  const read = readNetwork(text);
  return "problem" in read ? undefined : read;
}

/** Says why a text is no network, and which form is right; undefined for a network. */
export function networkProblem(text: string): string | undefined {
  const read = readNetwork(text);
  return "problem" in read ? read.problem : undefined;
}

function readNetwork(text: string): IpNetwork | { readonly problem: string } {
  const trimmed = text.trim();
  const [before = "", length, ...rest] = trimmed.split("/");
  const address = parseIpAddress(before);
  const width = before.includes(":") ? 128 : 32;
  const prefix = Number(length ?? width);
  if (address === undefined || rest.length > 0 || !/^\d{1,3}$/.test(length ?? "0") || prefix > width)
    return { problem: trimmed };
  if (address.family === 6 || width === 32) return { ...address, prefix };
  // An IPv4-mapped address is written in 128 bits, of which the first 96 are no part of the IPv4 address.
  if (prefix >= MAPPED_PREFIX) return { ...address, prefix: prefix - MAPPED_PREFIX };
  const meant = prefix <= 32 ? `${dotted(address.bits)}/${prefix}` : `${dotted(address.bits)}/32`;
  return { problem: `${trimmed} may mean IPv4 or IPv6; write ${meant}` };
}

const dotted = (bits: bigint): string => [24n, 16n, 8n, 0n].map((at) => (bits >> at) & 0xffn).join(".");

/** Whether the address lies in the network. No IPv4 address lies in an IPv6 network, "::/0" included. */
export function isInNetwork(address: IpAddress, { family, bits, prefix }: IpNetwork): boolean {
  if (family !== address.family) return false;
  const rest = BigInt(WIDTH[family] - prefix);
  return bits >> rest === address.bits >> rest;
}

export const isSameAddress = (one: IpAddress | undefined, other: IpAddress): boolean =>
  one?.family === other.family && one.bits === other.bits;

const LOOPBACK: readonly IpNetwork[] = [
  { family: 4, bits: 127n << 24n, prefix: 8 },
  { family: 6, bits: 1n, prefix: 128 },
];

export const isLoopback = (address: IpAddress): boolean =>
  LOOPBACK.some((network) => isInNetwork(address, network));

/** Whether a host name or address can only be this machine: "localhost", "127.0.0.1", "[::1]". Lower case. */
export function isLoopbackHost(host: string): boolean {
  const name = host.replace(/\.$/, "");
  if (name === "localhost" || name.endsWith(".localhost")) return true;
  const address = parseIpAddress(unbracketed(name));
  return address !== undefined && isLoopback(address);
}

/**
 * Returns true for plain HTTP to another machine, false for HTTPS, loopback addresses and text that is no
 * URL.
 */
export function crossesInClear(url: string): boolean {
  const parsed = URL.parse(url);
  return parsed?.protocol === "http:" && !isLoopbackHost(parsed.hostname);
}

/** The key under which attempts are counted: an IPv4 address, or an IPv6 network of 64 bits, which one customer has. */
export const countingKey = ({ family, bits }: IpAddress): string =>
  family === 4 ? `4:${bits.toString(16)}` : `6:${(bits >> 64n).toString(16)}`;

const bitsOf4 = (text: string): bigint =>
  text.split(".").reduce((bits, part) => (bits << 8n) | BigInt(Number(part)), 0n);

function bitsOf6(text: string): bigint {
  const [head = "", tail] = text.split("::");
  const before = groupsOf(head);
  const after = groupsOf(tail ?? "");
  const gap = tail === undefined ? 0 : 8 - before.length - after.length;
  return [...before, ...Array.from({ length: gap }, () => 0n), ...after].reduce(
    (bits, group) => (bits << 16n) | group,
    0n,
  );
}

/** The last group may be an IPv4 address, which is two of them. */
const groupsOf = (text: string): readonly bigint[] =>
  text === ""
    ? []
    : text.split(":").flatMap((group) => {
        if (!group.includes(".")) return [BigInt(`0x${group}`)];
        const bits = bitsOf4(group);
        return [bits >> 16n, bits & 0xffffn];
      });

export const PORT_MAX = 65_535;

/** The host as a URL has it: an IPv6 address in brackets. */
export const bracketed = (host: string): string => (host.includes(":") ? `[${host}]` : host);

/** The host as sockets take it: an IPv6 address without brackets. */
export const unbracketed = (host: string): string => host.replace(/^\[(.*)\]$/, "$1");

/** "0.0.0.0:8081", "[::]:8081". */
export const formatHostPort = (host: string, port: number | string): string => `${bracketed(host)}:${port}`;

/**
 * Splits "host", "host:port", "[ipv6]" and "[ipv6]:port". The host is without brackets and may be empty, the port is at most
 * 65535 and undefined where none is written. Undefined for other text.
 */
export function parseHostPort(
  text: string,
): { readonly host: string; readonly port: number | undefined } | undefined {
  const match = /^(?:\[([\da-f:.]+)\]|([\p{L}\p{N}_.-]*))(?::(\d{1,5}))?$/iu.exec(text);
  if (match === null) return undefined;
  const [, ipv6, name = "", digits] = match;
  const port = digits === undefined ? undefined : Number(digits);
  if ((port ?? 0) > PORT_MAX || (ipv6 !== undefined && isIP(ipv6) !== 6)) return undefined;
  return { host: ipv6 ?? name, port };
}

/** The port of an http or https URL, the scheme's own where none is written. */
export const portOfUrl = ({ port, protocol }: Pick<URL, "port" | "protocol">): number =>
  Number(port) || (protocol === "https:" ? 443 : 80);

export interface ListenAddress {
  /** In the order in which they are tried. */
  readonly hosts: readonly string[];
  readonly port: number;
}

/** Both families in one socket, which Linux does; the second for a machine without IPv6. */
export const EVERYWHERE: readonly string[] = ["::", "0.0.0.0"];

export const LISTEN_ADDRESS_FORMS = ":8081, 127.0.0.1:8081, [::1]:8081";

/**
 * Reads an address to listen on as Go writes it: ":8081" is every address of the machine; "127.0.0.1:8081", "[::1]:8081",
 * "localhost:8081". Undefined for other text.
 */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const { host = "", port } = parseHostPort(text) ?? {};
  // "300.0.0.1" is a name that no resolver knows.
  if (port === undefined || (/^[\d.]+$/.test(host) && isIP(host) === 0)) return undefined;
  return { hosts: host === "" ? EVERYWHERE : [host], port };
}

export type DockerAddress =
  | { readonly socketPath: string }
  | { readonly protocol: "http" | "https"; readonly host: string; readonly port: number };

export const DOCKER_ADDRESS_FORMS = "unix:///var/run/docker.sock, tcp://host:2375, http://…, https://…";

/**
 * Reads "unix:///run/docker.sock", "tcp://host", "http://host:2375" or "https://host". `tls` makes tcp:// and http:// into
 * https; without a port it is Docker's own. Undefined for other text.
 */
export function parseDockerAddress(text: string, tls: boolean): DockerAddress | undefined {
  const socketPath = socketPathOf(text);
  if (socketPath !== undefined) return { socketPath };
  const [, scheme, authority = ""] = /^(tcp|http|https):\/\/([^/@?#\s]+)\/?$/.exec(text) ?? [];
  // Of `tcp://` a URL knows neither default port nor how to lower-case the host.
  const url = scheme === undefined ? null : URL.parse(`http://${authority}`);
  if (url === null) return undefined;
  const secure = tls || scheme === "https";
  // A URL drops the port that is its scheme's own.
  const port = Number(url.port) || (authority.endsWith(":80") ? 80 : secure ? 2376 : 2375);
  return { protocol: secure ? "https" : "http", host: unbracketed(url.hostname), port };
}

/** "unix:///run/docker.sock" is "/run/docker.sock"; undefined for other addresses. */
export const socketPathOf = (text: string): string | undefined => /^unix:\/\/(\/.+)$/s.exec(text)?.[1];

/** Whether the containers and files of the Docker at this address are this machine's. */
export function isDockerLocal(text: string): boolean {
  const address = parseDockerAddress(text, false);
  return address !== undefined && ("socketPath" in address || isLoopbackHost(address.host));
}
