// Finds where this machine stands: as configured, else as its cloud says, else, if allowed, by its public address.
import type { Settings } from "../../config/options.ts";
import { createHttp } from "../../control/http.ts";
import { locationPauses } from "../../control/retry.ts";
import * as v from "valibot";
import { seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import type { ReadText } from "../../platform/host.ts";
import { readText } from "../../platform/lenient-reads.ts";
import { type Location, locationLabel } from "../../protocol/noderax/location.ts";
import { type AskMetadata, cloudLocation } from "./cloud.ts";
import { locationFromIpinfo } from "./ipinfo.ts";
import { metadataService } from "./metadata-service.ts";

export type LocationSettings = Pick<
  Settings,
  | "location_manual_region"
  | "location_manual_zone"
  | "location_manual_latitude"
  | "location_manual_longitude"
  | "location_public_ip_enabled"
  | "ipinfo_token"
>;

export interface LocationPorts {
  readonly metadata: (signal: AbortSignal) => AskMetadata;
  /** Returns the parsed body of ipinfo.io's answer. Rejects without one. */
  readonly ipinfo: (token: string | undefined, signal: AbortSignal) => Promise<unknown>;
}

/** The location from the configuration; undefined when none is set. */
export function manualLocation(settings: LocationSettings): Location | undefined {
  const {
    location_manual_region: region,
    location_manual_zone: zone,
    location_manual_latitude: latitude,
    location_manual_longitude: longitude,
  } = settings;
  if (region === undefined || latitude === undefined || longitude === undefined) return undefined;
  const inside = zone === undefined ? {} : { zone: locationLabel(zone) };
  return {
    provider: "manual",
    source: "manual",
    region: locationLabel(region),
    ...inside,
    latitude,
    longitude,
  };
}

/** One try. Undefined where nothing knows the location. Never rejects. */
export async function findLocation(
  settings: LocationSettings,
  ports: LocationPorts,
  signal: AbortSignal,
): Promise<Location | undefined> {
  const configured = manualLocation(settings);
  if (configured !== undefined) return configured;
  const inCloud = await cloudLocation(ports.metadata(signal));
  if (inCloud !== undefined || !settings.location_public_ip_enabled) return inCloud;
  const answer = await ports.ipinfo(settings.ipinfo_token, signal).catch(() => undefined);
  return locationFromIpinfo(answer);
}

/** Files that name the maker of a machine: "Amazon EC2", "Google", "Microsoft Corporation" (Hyper-V elsewhere, too). */
const MAKERS = ["/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/bios_vendor", "/sys/hypervisor/uuid"];

/**
 * Resolves with the location for an enrollment: as configured, or, on a machine whose firmware names one of the clouds, as its
 * metadata service says. One try, since a person waits. Undefined elsewhere; the agent finds it later. Never rejects.
 */
export async function enrollmentLocation(
  settings: LocationSettings,
  ports: LocationPorts,
  signal: AbortSignal,
  read: ReadText = readText,
): Promise<Location | undefined> {
  const configured = manualLocation(settings);
  const isCloud = MAKERS.some((path) => /^(amazon|ec2|google|microsoft)/i.test(read(path) ?? ""));
  return configured ?? (isCloud ? await cloudLocation(ports.metadata(signal)) : undefined);
}

/** Tries for 22 minutes; undefined when nothing has known it by then, or `signal` aborted. Never rejects. */
export async function awaitLocation(
  settings: LocationSettings,
  ports: LocationPorts,
  signal: AbortSignal,
): Promise<Location | undefined> {
  for (const pause of [0, ...locationPauses]) {
    if (pause > 0) await sleep(pause, signal);
    if (signal.aborted) return undefined;
    const found = await findLocation(settings, ports, signal);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The ports of a real machine. `authorities` returns the PEM of all trusted authorities. */
export function locationPorts(authorities: () => string): LocationPorts {
  return {
    metadata: metadataService,
    ipinfo(token, signal) {
      const http = createHttp({ baseUrl: "https://ipinfo.io", authorities });
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      return http(
        {
          method: "GET",
          path: "/json",
          headers,
          answer: v.unknown(),
          timeout: seconds(10),
          idempotent: true,
        },
        signal,
      );
    },
  };
}
