// Measures the traffic of the network cards, each byte once: bridges, bonds, VLANs, tunnels and the interfaces of
// containers carry the same bytes a second time.
import { type Duration, minutes } from "../lib/duration.ts";
import { steadyNow } from "../lib/clock.ts";
import type { Machine } from "./machine.ts";

const COUNTERS = [
  "rxBytes",
  "txBytes",
  "rxPackets",
  "txPackets",
  "errorsIn",
  "errorsOut",
  "dropIn",
  "dropOut",
] as const;
export type Counters = Record<(typeof COUNTERS)[number], number>;

/** Totals since boot. */
export interface Interface extends Counters {
  readonly name: string;
}

/** Facts about an interface from sysfs. */
export interface InterfaceFacts {
  /** Belongs to a device on a bus, such as PCI, USB or virtio. */
  readonly physical: boolean;
  /** The interfaces it is part of: a bond, a bridge; on Azure, the card that a virtual function accelerates. */
  readonly uppers: readonly string[];
}

/** Reads `/proc/net/dev`; loopback is left out. Old kernels write no space behind the colon. */
export function parseNetDev(text: string): Interface[] {
  const interfaces: Interface[] = [];
  for (const [, name = "", rest = ""] of text.matchAll(/^ *([^\s:|]+):([\d ]+)$/gm)) {
    const [rxBytes, rxPackets, errorsIn, dropIn, , , , , txBytes, txPackets, errorsOut, dropOut] = rest
      .trim()
      .split(/ +/)
      .map(Number);
    if (name === "lo" || dropOut === undefined) continue;
    const read = { rxBytes, txBytes, rxPackets, txPackets, errorsIn, errorsOut, dropIn, dropOut };
    interfaces.push({ name, ...fromKeys((key) => read[key] ?? 0) });
  }
  return interfaces;
}

const fromKeys = (value: (key: keyof Counters) => number): Counters =>
  Object.fromEntries(COUNTERS.map((key) => [key, value(key)])) as Counters;

/** Names of software interfaces: a container host has hundreds. */
const BY_SOFTWARE =
  /^(?:veth|docker|br-|cni|cali|cilium|flannel|lxc|lxd|virbr|vnet|vmnet|tap|tun|wg|dummy|ifb|bond|team|vxlan|geneve|gre|sit|ip6tnl|tunl|kube-|nodelocaldns|podman|zt|tailscale)/;
/** Interfaces read from sysfs; a machine rarely has more than a few cards. */
const CANDIDATES_MAX = 64;

/**
 * Returns the interfaces to count: the cards, unless another card carries their traffic. Without a card (in a container,
 * where "eth0" is virtual) all that have no name of a software interface; without those, all.
 */
export function counted(
  interfaces: readonly Interface[],
  facts: ReadonlyMap<string, InterfaceFacts>,
): readonly Interface[] {
  const physical = (name: string): boolean => facts.get(name)?.physical === true;
  const cards = interfaces.filter(
    ({ name }) => physical(name) && facts.get(name)?.uppers.some(physical) !== true,
  );
  if (cards.length > 0) return cards;
  const plain = interfaces.filter(({ name }) => !BY_SOFTWARE.test(name));
  return plain.length > 0 ? plain : interfaces;
}

/** Interfaces in a sample: the web page has room for so many, and the database keeps samples for long. */
const LISTED_MAX = 8;

export interface NetworkReading extends Counters {
  /** Those with the most traffic, in the field names of the control plane. */
  readonly interfaces: readonly { name: string; bytesRecv: number; bytesSent: number }[];
}

export function summarize(interfaces: readonly Interface[]): NetworkReading {
  const bytes = ({ rxBytes, txBytes }: Interface): number => rxBytes + txBytes;
  return {
    ...fromKeys((key) => interfaces.reduce((sum, one) => sum + one[key], 0)),
    interfaces: interfaces
      .filter((one) => bytes(one) > 0)
      .sort((a, b) => bytes(b) - bytes(a))
      .slice(0, LISTED_MAX)
      .map(({ name, rxBytes, txBytes }) => ({ name, bytesRecv: rxBytes, bytesSent: txBytes })),
  };
}

/** Facts about interfaces are read again at this interval; they change rarely, as when a card joins a bond. */
const FACTS_LAST = minutes(5);

export function createNetworkMeter(
  machine: Machine,
  now: () => Duration = steadyNow,
): () => Promise<NetworkReading | undefined> {
  let facts = new Map<string, InterfaceFacts>();
  let forgetAt = 0;

  async function readFacts(name: string): Promise<[string, InterfaceFacts]> {
    const entries = await machine.names(`/sys/class/net/${name}`);
    const uppers = entries.filter((entry) => entry.startsWith("upper_")).map((entry) => entry.slice(6));
    return [name, { physical: entries.includes("device"), uppers }];
  }

  return async () => {
    const text = await machine.read("/proc/net/dev");
    if (text === undefined) return undefined;
    const interfaces = parseNetDev(text);
    if (now() >= forgetAt) {
      facts = new Map();
      forgetAt = now() + FACTS_LAST;
    }
    const known = facts;
    const candidates = interfaces
      .map(({ name }) => name)
      .filter((name) => !BY_SOFTWARE.test(name))
      .slice(0, CANDIDATES_MAX);
    const fresh = await Promise.all(candidates.filter((name) => !known.has(name)).map(readFacts));
    facts = new Map(candidates.flatMap((name) => pair(name, known.get(name))).concat(fresh));
    return summarize(counted(interfaces, facts));
  };
}

const pair = <T>(key: string, value: T | undefined): [string, T][] =>
  value === undefined ? [] : [[key, value]];
