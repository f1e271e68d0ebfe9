// Where a node stands, as enrollment and `agent.auth` carry it. Servers of some versions refuse `agent.auth` with it.
export interface Location {
  provider: "aws" | "gcp" | "azure" | "manual" | "public_ip";
  source: "cloud_metadata" | "manual" | "ipinfo";
  /** Of a cloud in lower case; else a name for people of at most 80 characters. */
  region: string;
  zone?: string;
  /** Degrees, always both; the metadata of a cloud does not have them. */
  latitude?: number;
  longitude?: number;
}
