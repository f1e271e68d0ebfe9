// Asks the metadata services of AWS, Google Cloud and Azure where this machine stands.
import * as v from "valibot";
import { isTooDeep } from "../../lib/json-depth.ts";
import type { Location } from "../../protocol/noderax/location.ts";

export interface MetadataRequest {
  readonly method: "GET" | "PUT";
  /** With a leading slash. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Asks the metadata service of this machine; undefined without an answer, and for any status but 200. Never rejects. */
export type AskMetadata = (request: MetadataRequest) => Promise<string | undefined>;

/**
 * Returns where the cloud says this machine stands; undefined outside the three clouds. Never rejects. All three are asked
 * at once, since they have one address and at most one of them answers.
 */
export async function cloudLocation(ask: AskMetadata): Promise<Location | undefined> {
  const answers = await Promise.all([aws(ask), gcp(ask), azure(ask)]);
  return answers.find((location) => location !== undefined);
}

/** By session token (IMDSv2), or without one where the service does not give any. */
async function aws(ask: AskMetadata): Promise<Location | undefined> {
  const token = await ask({
    method: "PUT",
    path: "/latest/api/token",
    headers: { "x-aws-ec2-metadata-token-ttl-seconds": "60" },
  });
  const isToken = token !== undefined && /^[\w+/=-]{1,512}$/.test(token.trim());
  const document = await ask({
    method: "GET",
    path: "/latest/dynamic/instance-identity/document",
    headers: isToken ? { "x-aws-ec2-metadata-token": token.trim() } : {},
  });
  const parsed = v.safeParse(AwsDocument, parseJson(document));
  if (!parsed.success) return undefined;
  return located("aws", parsed.output.region, parsed.output.availabilityZone);
}

async function gcp(ask: AskMetadata): Promise<Location | undefined> {
  const answer = await ask({
    method: "GET",
    path: "/computeMetadata/v1/instance/zone",
    // By address, not by the name metadata.google.internal: no name server is asked for it outside Google.
    headers: { "metadata-flavor": "Google", host: "metadata.google.internal" },
  });
  // "projects/123456/zones/europe-west1-b"
  const zone = /^projects\/[^/\s]+\/zones\/([a-z0-9-]+)-([a-z0-9]+)$/i.exec(answer?.trim() ?? "");
  return zone === null ? undefined : located("gcp", zone[1], `${zone[1]}-${zone[2]}`);
}

async function azure(ask: AskMetadata): Promise<Location | undefined> {
  const answer = await ask({
    method: "GET",
    path: "/metadata/instance/compute?api-version=2021-02-01&format=json",
    headers: { metadata: "true" },
  });
  const parsed = v.safeParse(AzureCompute, parseJson(answer));
  return parsed.success ? located("azure", parsed.output.location, parsed.output.zone) : undefined;
}

const AwsDocument = v.object({ region: v.string(), availabilityZone: v.optional(v.string()) });
const AzureCompute = v.object({ location: v.string(), zone: v.optional(v.string()) });

/** Undefined for a region that is no valid name: outside a cloud any program may answer at the address. */
function located(
  provider: "aws" | "gcp" | "azure",
  region: string | undefined,
  zone: string | undefined,
): Location | undefined {
  const known = nameOf(region);
  if (known === undefined) return undefined;
  const inside = nameOf(zone);
  return {
    provider,
    source: "cloud_metadata",
    region: known,
    ...(inside === undefined ? {} : { zone: inside }),
  };
}

function nameOf(text: string | undefined): string | undefined {
  const name = text?.trim().toLowerCase() ?? "";
  return /^[a-z0-9][a-z0-9-]{0,79}$/.test(name) ? name : undefined;
}

function parseJson(text: string | undefined): unknown {
  if (text === undefined || isTooDeep(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
