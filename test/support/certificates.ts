// A private certificate authority and certificates of it, made by openssl in a directory of the test's.
import { writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Authority {
  /** PEM file to trust. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Tests of TLS are skipped without it; their names end on "(needs openssl)". */
export const noOpenssl = Bun.which("openssl") === null;

/** `names` as in openssl's subjectAltName: "IP:127.0.0.1", "DNS:api.example.com". `commonName` is the issuer's. */
export function certificateFor(directory: string, names: string, commonName: string): Authority {
  const at = (name: string): string => join(directory, name);
  // Files that skipped tests read where they are loaded.
  if (noOpenssl) for (const name of ["ca.pem", "server.pem", "server.key"]) writeFileSync(at(name), "");
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const ca = ["-keyout", at("ca.key"), "-out", at("ca.pem"), "-subj", `/CN=${commonName}`];
  openssl("req", "-x509", ...curve, ...ca);
  const issued = ["-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-addext", `subjectAltName=${names}`];
  const server = ["-keyout", at("server.key"), "-out", at("server.pem"), "-subj", "/CN=sandbox"];
  openssl("req", "-x509", ...curve, ...issued, ...server);
  return { ca: at("ca.pem"), cert: at("server.pem"), key: at("server.key") };
}

function openssl(...args: string[]): void {
  if (noOpenssl) return;
  const { success, stderr } = Bun.spawnSync(["openssl", ...args]);
  if (!success) throw new Error(`openssl ${args[0] ?? ""}: ${stderr.toString()}`);
}
