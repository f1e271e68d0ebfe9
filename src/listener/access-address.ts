// IP addresses and networks as numbers: who is who, whichever way a socket writes it. Pure.
import { isIP } from "node:net";

export interface Address {
  readonly family: 4 | 6;
  readonly bits: bigint;
}

export interface Network extends Address {
  readonly prefix: number;
}

const WIDTH = { 4: 32, 6: 128 } as const;
/** ::ffff:0:0/96, in which a socket for both families shows IPv4. */
const MAPPED = 0xffffn;

/** Without zone; an IPv4 address in IPv6's clothes is an IPv4 address. Undefined for what is no address. */
export function parseAddress(text: string): Address | undefined {
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

/** As a person writes it: "::ffff:192.0.2.1" is 192.0.2.1. */
export const unmapped = (text: string): string => text.replace(/^::ffff:(?=\d+\.)/i, "");

/** "10.0.0.0/8", "fd00::/8", or one address. Undefined for what is no network. */
export function parseNetwork(text: string): Network | undefined {
  const [before = "", length, ...rest] = text.trim().split("/");
  const address = parseAddress(before);
  if (address === undefined || rest.length > 0) return undefined;
  const written = before.includes(":") ? 128 : 32;
  if (length !== undefined && !/^\d{1,3}$/.test(length)) return undefined;
  const prefix = length === undefined ? written : Number(length);
  if (prefix > written) return undefined;
  // Of a mapped address the first 96 bits are the clothes; a shorter prefix means IPv6 as a whole.
  const clothes = address.family === 4 && written === 128 ? 96 : 0;
  return prefix < clothes
    ? { family: 6, bits: MAPPED << 32n, prefix }
    : { ...address, prefix: prefix - clothes };
}

export function contains({ family, bits, prefix }: Network, address: Address): boolean {
  if (family !== address.family) return false;
  const rest = BigInt(WIDTH[family] - prefix);
  return bits >> rest === address.bits >> rest;
}

const LOOPBACK: readonly Network[] = [
  { family: 4, bits: 127n << 24n, prefix: 8 },
  { family: 6, bits: 1n, prefix: 128 },
];

export const isLoopback = (address: Address): boolean => LOOPBACK.some((one) => contains(one, address));

/** Whom tries are counted for: an IPv4 address, or an IPv6 network of 64 bits, which is what one customer has. */
export const countedAs = ({ family, bits }: Address): string =>
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
