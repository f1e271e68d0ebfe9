// A release place with keys of its own, as `npm run release` makes one: for tests of the updater.
import { createHash, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { buildName } from "../../src/install/update/release.ts";

class SigningKey {
  readonly raw: string;
  readonly #secret: KeyObject;

  constructor() {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    this.raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("base64");
    this.#secret = privateKey;
  }

  sign(content: Uint8Array): Buffer {
    return sign(null, content, this.#secret);
  }

  /** As `minisign -S` writes it, prehashed. */
  minisig(content: Uint8Array, comment: string): string {
    const signature = this.sign(createHash("blake2b512").update(content).digest());
    const global = this.sign(Buffer.concat([signature, Buffer.from(comment)]));
    const line = Buffer.concat([Buffer.from("ED"), Buffer.alloc(8, 7), signature]);
    return `untrusted comment: test\n${line.toString("base64")}\ntrusted comment: ${comment}\n${global.toString("base64")}\n`;
  }
}

const sha256 = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex");

export interface PublishedPatch {
  readonly from: string;
  readonly old: Uint8Array;
  readonly content: Uint8Array;
}

export interface PublishOptions {
  readonly compressed?: boolean;
  readonly patches?: readonly PublishedPatch[];
  readonly minimumVersion?: string;
  /** Instead of this place's own. */
  readonly product?: string;
  readonly comment?: string;
  readonly signedBy?: SignedPlace;
}

/** A directory of releases and the keys that vouch for it. */
export class SignedPlace {
  readonly root = new SigningKey();
  readonly #signing = new SigningKey();
  readonly #versions: string[] = [];

  constructor(readonly directory: string) {
    mkdirSync(directory, { recursive: true });
  }

  /** Publishes an executable as a version, the newest. */
  publish(version: string, executable: Uint8Array, options: PublishOptions = {}): void {
    const { compressed = true, patches = [], minimumVersion, product = "noderax-agent-ts" } = options;
    const keys = options.signedBy ?? this;
    const directory = join(this.directory, version);
    mkdirSync(directory, { recursive: true });
    const sums: string[] = [];
    const put = (file: string, content: Uint8Array): { file: string; sha256: string; size: number } => {
      writeFileSync(join(directory, file), content);
      sums.push(`${sha256(content)}  ${file}`);
      return { file, sha256: sha256(content), size: content.length };
    };
    const name = `noderax-agent-${version}-linux-x64`;
    const build = {
      ...put(name, executable),
      ...(compressed && { compressed: put(`${name}.gz`, gzipSync(executable, { level: 1 })) }),
      patches: patches.map(({ from, old, content }) => ({
        from,
        fromSha256: sha256(old),
        ...put(`noderax-agent-${from}-to-${version}-linux-x64.patch`, content),
      })),
    };
    const manifest = {
      product,
      version,
      channel: "tag",
      minimumVersion,
      notes: [],
      builds: { [buildName("glibc")]: build },
    };
    put("release-manifest.json", Buffer.from(JSON.stringify(manifest)));
    const list = Buffer.from(JSON.stringify({ product, keys: [keys.#signing.raw] }));
    writeFileSync(join(directory, "signing-keys.json"), list);
    writeFileSync(join(directory, "signing-keys.sig"), `${keys.root.sign(list).toString("base64")}\n`);
    const text = Buffer.from(`${sums.join("\n")}\n`);
    writeFileSync(join(directory, "SHA256SUMS"), text);
    writeFileSync(
      join(directory, "SHA256SUMS.minisig"),
      keys.#signing.minisig(text, options.comment ?? `${product} ${version}`),
    );
    if (!this.#versions.includes(version)) this.#versions.unshift(version);
    this.catalog(product);
  }

  /** Writes the catalog, also of another program. */
  catalog(product: string): void {
    const versions = this.#versions.map((version) => ({
      version,
      manifest: `${version}/release-manifest.json`,
    }));
    writeFileSync(
      join(this.directory, "catalog.json"),
      JSON.stringify({ product, latest: this.#versions[0], versions }),
    );
  }

  /** Changes one published file behind the back of its signatures. */
  tamper(version: string, file: string, change: (content: Buffer) => Uint8Array): void {
    const path = join(this.directory, version, file);
    writeFileSync(path, change(readFileSync(path)));
  }
}
