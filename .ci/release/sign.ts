// Signs a release with Ed25519 keys, in the forms of minisign and of `ssh-keygen -Y sign`. Deterministic, without programs.
import { type KeyObject, createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";

/** Reads a private key in PEM (PKCS#8), as `openssl genpkey -algorithm ed25519` writes it. Throws for any other key. */
export function readKey(pem: string): KeyObject {
  const key = createPrivateKey(pem);
  if (key.asymmetricKeyType !== "ed25519") throw new Error("the release key must be an Ed25519 key in PEM");
  return key;
}

/** The raw 32 bytes of the public key. */
export function publicKeyOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
}

/** A raw signature in base64. */
export const rawSignature = (key: KeyObject, content: Uint8Array): string =>
  sign(null, content, key).toString("base64");

/** The public key as install.sh and the programs take it. */
export function publicForms(key: KeyObject): { ssh: string; pem: string; minisign: string } {
  const raw = publicKeyOf(key);
  const der = createPublicKey(key).export({ format: "der", type: "spki" });
  return {
    ssh: `ssh-ed25519 ${sshKey(raw).toString("base64")}`,
    pem: der.toString("base64"),
    minisign: Buffer.concat([Buffer.from("Ed"), keyId(raw), raw]).toString("base64"),
  };
}

/** A file like FILE.minisig, prehashed. The trusted comment is signed too. */
export function minisig(key: KeyObject, content: Uint8Array, trustedComment: string): string {
  const digest = createHash("blake2b512").update(content).digest();
  const signature = sign(null, digest, key);
  const global = sign(null, Buffer.concat([signature, Buffer.from(trustedComment)]), key);
  const encoded = Buffer.concat([Buffer.from("ED"), keyId(publicKeyOf(key)), signature]);
  return [
    "untrusted comment: signature of a noderax-agent release",
    encoded.toString("base64"),
    `trusted comment: ${trustedComment}`,
    `${global.toString("base64")}\n`,
  ].join("\n");
}

/** A file like FILE.sig of `ssh-keygen -Y sign -n NAMESPACE`. */
export function sshSignature(key: KeyObject, content: Uint8Array, namespace: string): string {
  const hash = createHash("sha512").update(content).digest();
  const common = [sshString(namespace), sshString(""), sshString("sha512")];
  const signed = Buffer.concat([Buffer.from("SSHSIG"), ...common, sshString(hash)]);
  const signature = Buffer.concat([sshString("ssh-ed25519"), sshString(sign(null, signed, key))]);
  const version = Buffer.from([0, 0, 0, 1]);
  const blob = Buffer.concat([
    Buffer.from("SSHSIG"),
    version,
    sshString(sshKey(publicKeyOf(key))),
    ...common,
    sshString(signature),
  ]);
  const lines = blob.toString("base64").match(/.{1,70}/g) ?? [];
  return ["-----BEGIN SSH SIGNATURE-----", ...lines, "-----END SSH SIGNATURE-----", ""].join("\n");
}

/** Eight bytes that tell keys of minisign apart. */
const keyId = (raw: Buffer): Buffer => createHash("sha256").update(raw).digest().subarray(0, 8);

const sshKey = (raw: Buffer): Buffer => Buffer.concat([sshString("ssh-ed25519"), sshString(raw)]);

function sshString(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
