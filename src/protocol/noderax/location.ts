// Where a node stands, as enrollment and `agent.auth` carry it. Servers of some versions refuse `agent.auth` with it.
import { printable } from "../../lib/printable.ts";

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

const LABEL_MAX = 80;

/** Returns a name for people as the server can store it: printable, at most 80 characters, no half of a surrogate pair. */
export function locationLabel(text: string): string {
  const label = printable(text.trim()).toWellFormed().slice(0, LABEL_MAX);
  return label.isWellFormed() ? label : label.slice(0, -1);
}
