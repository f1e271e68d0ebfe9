// The keys of a release: root keys, compiled in, sign the list of signing keys; one of these signs the checksums.
import { type KeyObject, generateKeyPairSync } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PRODUCT } from "../../src/install/update/signature.ts";
import { minisig, publicForms, publicKeyOf, rawSignature, readKey, sshSignature } from "./sign.ts";
import { SUMS } from "./checksums.ts";

/** Where the keys come from: files named by flags, or texts in variables. */
export interface KeySources {
  readonly "signing-key"?: string | undefined;
  readonly "root-key"?: string | undefined;
  /** A list that was signed elsewhere, because the root key is offline. */
  readonly "signing-keys"?: string | undefined;
  readonly "signing-keys-signature"?: string | undefined;
}

export interface ReleaseKeys {
  readonly signing: KeyObject;
  readonly list: Buffer;
  /** Base64, one a line. */
  readonly listSignatures: string;
  /** Raw public keys in base64, for the executable. */
  readonly roots: readonly string[];
}

type Variables = Readonly<Record<string, string | undefined>>;

/** Returns undefined where there is no signing key. Throws where the keys could not make a release that updates accept. */
export function readKeys(sources: KeySources, variables: Variables): ReleaseKeys | undefined {
  const signing = keyFrom(sources["signing-key"], variables["NODERAX_SIGNING_KEY"]);
  if (signing === undefined) return undefined;
  const root = keyFrom(sources["root-key"], variables["NODERAX_ROOT_KEY"]);
  const list = sources["signing-keys"];
  const signatures = sources["signing-keys-signature"];
  const named = variables["NODERAX_ROOT_KEYS"]?.split(",").filter(Boolean);
  const roots = named ?? (root === undefined ? [] : [base64Of(root)]);
  if (roots.length === 0)
    throw new Error("the executable would know no root key: give --root-key FILE, or NODERAX_ROOT_KEYS");
  if (list !== undefined && signatures !== undefined)
    return { signing, list: readFileSync(list), listSignatures: readFileSync(signatures, "utf8"), roots };
  if (root === undefined)
    throw new Error(
      "no root key signs the list of signing keys: give --root-key FILE, or --signing-keys FILE and --signing-keys-signature FILE",
    );
  return { signing, ...signedList(root, [signing]), roots };
}

function keyFrom(file: string | undefined, text: string | undefined): KeyObject | undefined {
  if (file !== undefined) return readKey(readFileSync(file, "utf8"));
  return text === undefined || text === "" ? undefined : readKey(text);
}

function signedList(
  root: KeyObject,
  signing: readonly KeyObject[],
): Pick<ReleaseKeys, "list" | "listSignatures"> {
  const list = Buffer.from(`${JSON.stringify({ product: PRODUCT, keys: signing.map(base64Of) }, null, 2)}\n`);
  return { list, listSignatures: `${rawSignature(root, list)}\n` };
}

const base64Of = (key: KeyObject): string => publicKeyOf(key).toString("base64");

/** Writes the signatures of SHA256SUMS and the list of keys beside it. Returns what install.sh verifies with. */
export function signRelease(
  directory: string,
  version: string,
  { signing, list, listSignatures }: ReleaseKeys,
): { ssh: string; pem: string; minisign: string } {
  const sums = readFileSync(join(directory, SUMS));
  writeFileSync(join(directory, `${SUMS}.minisig`), minisig(signing, sums, `${PRODUCT} ${version}`));
  writeFileSync(join(directory, `${SUMS}.sig`), sshSignature(signing, sums, "noderax-agent"));
  writeFileSync(join(directory, "signing-keys.json"), list);
  writeFileSync(join(directory, "signing-keys.sig"), listSignatures);
  return publicForms(signing);
}

/** Writes a new root key and a new signing key, and the list that the one has signed of the other. Overwrites nothing. */
export function newKeys(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const pemOf = (): string =>
    generateKeyPairSync("ed25519").privateKey.export({ format: "pem", type: "pkcs8" }).toString();
  const [root, signing] = [pemOf(), pemOf()];
  const { list, listSignatures } = signedList(readKey(root), [readKey(signing)]);
  const write = (name: string, content: string | Uint8Array, mode: number): void =>
    writeFileSync(join(directory, name), content, { flag: "wx", mode });
  write("root.pem", root, 0o600);
  write("signing.pem", signing, 0o600);
  write("root.pub", `${base64Of(readKey(root))}\n`, 0o644);
  write("signing-keys.json", list, 0o644);
  write("signing-keys.sig", listSignatures, 0o644);
}
