// Asks ipinfo.io where the public address of this machine is; only when the owner allows it.
import * as v from "valibot";
import { type Location, locationLabel } from "../../protocol/noderax/location.ts";

const Answer = v.object({
  ip: v.optional(v.string()),
  city: v.optional(v.string()),
  region: v.optional(v.string()),
  country: v.optional(v.string()),
  /** "52.3740,4.8897" */
  loc: v.optional(v.string()),
});

/** Parses the answer of ipinfo.io; undefined for anything else, also for one without a place and an address. */
export function locationFromIpinfo(body: unknown): Location | undefined {
  const parsed = v.safeParse(Answer, body);
  if (!parsed.success) return undefined;
  const { ip, city, region, country, loc } = parsed.output;
  const names = [city, region, country].map((name) => name?.trim() ?? "").filter(Boolean);
  const label = locationLabel([...new Set(names)].join(", ") || (ip ?? ""));
  if (label === "") return undefined;
  return { provider: "public_ip", source: "ipinfo", region: label, ...coordinates(loc) };
}

function coordinates(loc: string | undefined): { latitude: number; longitude: number } | undefined {
  const match = /^(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)$/.exec(loc?.trim() ?? "");
  const [latitude, longitude] = [Number(match?.[1]), Number(match?.[2])];
  return Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180 ? { latitude, longitude } : undefined;
}
