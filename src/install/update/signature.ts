// Verifies a release: root keys of this executable sign a list of signing keys, one of which signs the checksums.
//
// The list lies beside each release, so a signing key can be replaced without a new executable, and the root keys are used
// rarely, offline. Nothing in here expires: an expired list would stop updates, not attacks on a machine that runs.
import { createHash, createPublicKey, verify } from "node:crypto";
import * as v from "valibot";
import { AgentError, exit, messageOf } from "../../lib/agent-error.ts";

/** The name in every signed document: the place of another program does not have it. */
export const PRODUCT = "noderax-agent-ts";

/** The files of a release that prove the others, as they were downloaded. */
export interface ReleaseProof {
  /** signing-keys.json: `{product, keys: [base64 of a raw Ed25519 key]}`. */
  readonly keys: Uint8Array;
  /** signing-keys.sig: a raw Ed25519 signature in base64 a line. */
  readonly keysSignatures: string;
  /** SHA256SUMS, in the form of `sha256sum`. */
  readonly sums: Uint8Array;
  /** SHA256SUMS.minisig, prehashed; its trusted comment is "noderax-agent-ts VERSION". */
  readonly sumsSignature: string;
}

const SigningKeys = v.object({
  product: v.literal(PRODUCT),
  keys: v.pipe(v.array(v.pipe(v.string(), v.base64())), v.maxLength(100)),
});

/**
 * Returns the SHA-256 (hexadecimal) of every file of release `version`. `roots` are raw Ed25519 keys in base64. Throws
 * "update.signature" with what does not fit, also for a valid signature of another version.
 */
export function verifiedSums(
  proof: ReleaseProof,
  version: string,
  roots: readonly string[],
): ReadonlyMap<string, string> {
  if (roots.length === 0) throw noRoots();
  const signatures = proof.keysSignatures.split(/\s+/).filter(Boolean).slice(0, 100);
  const isSigned = signatures.some((signature) => isSignedBy(roots, proof.keys, signature));
  if (!isSigned) throw wrong("no root key of this executable has signed the list of signing keys");
  const { keys } = parsedKeys(proof.keys);
  const { comment, signature, global } = parsedMinisig(proof.sumsSignature);
  const digest = createHash("blake2b512").update(proof.sums).digest();
  const key = keys.find((candidate) => isSignedBy([candidate], digest, signature));
  if (key === undefined) throw wrong("the checksums are not signed by a signing key");
  const commented = Buffer.concat([Buffer.from(signature, "base64"), Buffer.from(comment)]);
  if (!isSignedBy([key], commented, global))
    throw wrong("the comment of the signature is not the signed one");
  if (comment !== `${PRODUCT} ${version}`)
    throw wrong(`the checksums are those of "${comment}", not of ${PRODUCT} ${version}`);
  return parsedSums(Buffer.from(proof.sums).toString());
}

/** An executable without root keys cannot tell a release from anything else. */
const noRoots = (): AgentError =>
  new AgentError("update.signature", "this build has no release keys, so it can verify no release", {
    hint: "Install a release:  https://…/install.sh; or replace the executable and run  noderax-agent install",
    exit: exit.refused,
  });

function wrong(why: string): AgentError {
  return new AgentError("update.signature", `the release is not genuine: ${why}`, {
    hint: "Nothing was changed. Check update_channel_url, and tell whoever publishes the releases.",
    exit: exit.refused,
  });
}

function parsedKeys(bytes: Uint8Array): v.InferOutput<typeof SigningKeys> {
  try {
    return v.parse(SigningKeys, JSON.parse(Buffer.from(bytes).toString()));
  } catch (error) {
    throw wrong(`the list of signing keys cannot be read (${messageOf(error)})`);
  }
}

interface Minisig {
  readonly comment: string;
  /** Base64, without the key's id. */
  readonly signature: string;
  readonly global: string;
}

/** Algorithm "ED" and the id of the key: the keys are tried one after the other. */
const MINISIG_PREFIX = 10;

function parsedMinisig(text: string): Minisig {
  const [untrusted = "", encoded = "", trusted = "", global = ""] = text.split("\n");
  const bytes = Buffer.from(encoded, "base64");
  const isOurs =
    untrusted.startsWith("untrusted comment:") &&
    trusted.startsWith("trusted comment: ") &&
    bytes.length === MINISIG_PREFIX + 64 &&
    bytes.subarray(0, 2).toString("latin1") === "ED";
  if (!isOurs) throw wrong("SHA256SUMS.minisig is no prehashed signature of minisign");
  return {
    comment: trusted.slice("trusted comment: ".length).trimEnd(),
    signature: bytes.subarray(MINISIG_PREFIX).toString("base64"),
    global: global.trim(),
  };
}

function parsedSums(text: string): ReadonlyMap<string, string> {
  const sums = new Map<string, string>();
  for (const line of text.split("\n").filter(Boolean)) {
    const [, hash, name] = /^([0-9a-f]{64}) [ *]([A-Za-z0-9][\w.+-]*)$/.exec(line) ?? [];
    if (hash === undefined || name === undefined) throw wrong("SHA256SUMS has a line that is none");
    sums.set(name, hash);
  }
  return sums;
}

/** The first 12 bytes of every Ed25519 key in DER. */
const DER_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** `keys` and `signature` are base64; what has another length than theirs is not signed. */
function isSignedBy(keys: readonly string[], content: Uint8Array, signature: string): boolean {
  const signed = Buffer.from(signature, "base64");
  if (signed.length !== 64) return false;
  return keys.some((key) => {
    const raw = Buffer.from(key, "base64");
    if (raw.length !== 32) return false;
    const der = Buffer.concat([DER_PREFIX, raw]);
    return verify(null, content, createPublicKey({ key: der, format: "der", type: "spki" }), signed);
  });
}
