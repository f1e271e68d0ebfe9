// Reads the listener's certificate and key, and checks that they belong together before they are used.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { requireTrusted } from "../platform/trust/root-trust.ts";

export interface TlsPair {
  readonly cert: string;
  readonly key: string;
  /** Differs when either file does. */
  readonly fingerprint: string;
}

/** Throws "listen.tls", naming the setting, for files that cannot be read, are not PEM, or do not belong together. */
export async function readTlsPair(certPath: string, keyPath: string): Promise<TlsPair> {
  const cert = await read("listen_tls_cert", certPath);
  const key = await read("listen_tls_key", keyPath);
  if (!cert.includes("-----BEGIN CERTIFICATE-----"))
    throw new AgentError("listen.tls", `listen_tls_cert: there is no certificate in ${certPath}`);
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    const isOther = /VALUES_MISMATCH|TYPE_MISMATCH/.test(messageOf(error));
    const what = isOther
      ? `the key of listen_tls_key (${keyPath}) is not the one of ${certPath}`
      : `listen_tls_cert and listen_tls_key cannot be used: ${messageOf(error)}`;
    throw new AgentError("listen.tls", what, { cause: error });
  }
  return { cert, key, fingerprint: createHash("sha256").update(`${cert}\0${key}`).digest("hex") };
}

async function read(setting: string, path: string): Promise<string> {
  requireTrusted(path, setting);
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new AgentError("listen.tls", `${setting}: ${messageOf(error)}`, { cause: error });
  }
}
