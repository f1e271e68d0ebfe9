// Collects the trusted certificate authorities: built-in, of the system, and of the operator.
import { readFileSync } from "node:fs";
import { rootCertificates } from "node:tls";
import { AgentError, exit, messageOf } from "../lib/agent-error.ts";
import { requireTrusted } from "../platform/trust/root-trust.ts";

/** Where distributions keep the system's bundle: Debian, Fedora and RHEL, Alpine, SUSE. */
const SYSTEM_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/cert.pem",
  "/etc/ssl/ca-bundle.pem",
];

/**
 * Returns all trusted authorities as one PEM text; a custom file is added to the others. Throws
 * "config.ca_file" when it cannot be read or holds no certificate.
 */
export function trustedAuthorities(customFile?: string): string {
  const custom = customFile === undefined ? [] : [readCustom(customFile)];
  const system = [process.env["SSL_CERT_FILE"], ...SYSTEM_BUNDLES]
    .map(certificatesIn)
    .find((found) => found.length > 0);
  const extra = certificatesIn(process.env["NODE_EXTRA_CA_CERTS"]);
  return [...new Set([...rootCertificates, ...(system ?? []), ...extra, ...custom])].join("\n");
}

function certificatesIn(path: string | undefined): string[] {
  if (path === undefined || path === "") return [];
  requireTrusted(path, "certificate authorities");
  try {
    return (
      readFileSync(path, "utf8").match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    );
  } catch {
    return []; // Another distribution's path.
  }
}

function readCustom(path: string): string {
  const problem = (what: string): AgentError =>
    new AgentError("config.ca_file", `api_tls_ca_file: ${path} ${what}`, {
      hint: "Give the path of a PEM file:  noderax-agent config set api_tls_ca_file /path/to/ca.pem",
      exit: exit.usage,
    });
  requireTrusted(path, "api_tls_ca_file");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw problem(`cannot be read (${messageOf(error)})`);
  }
  if (!text.includes("-----BEGIN CERTIFICATE-----")) throw problem("holds no PEM certificate");
  return text;
}
