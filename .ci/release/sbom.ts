// The bill of materials of the executables, in the form of CycloneDX 1.6, out of bun.lock.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../../package.json";
import { root } from "../bundle.ts";
import { manifestOf } from "../licenses.ts";
import { type Release, publishedAt } from "./release.ts";

/** Of a package: name and version, where it comes from, what it needs, hash. */
type LockEntry = readonly [
  string,
  string,
  { readonly dependencies?: Readonly<Record<string, string>> },
  string,
];

/** Returns the document. `packages` are the names of those whose code is in the executables. */
export function billOfMaterials(release: Release, packages: readonly string[]): object {
  const text = readFileSync(join(root, "bun.lock"), "utf8");
  const lock = Bun.JSON5.parse(text) as { packages: Readonly<Record<string, LockEntry>> };
  const entryOf = (name: string): LockEntry => {
    const entry = lock.packages[name];
    if (entry === undefined) throw new Error(`bun.lock does not name ${name}`);
    return entry;
  };
  const refOf = (name: string): string => `pkg:npm/${entryOf(name)[0].replace(/^@/, "%40")}`;
  const component = (name: string, type: string, licenses: readonly object[]): object => {
    const [group, own] = name.startsWith("@") ? name.split("/") : [undefined, name];
    return {
      type,
      "bom-ref": refOf(name),
      ...(group === undefined ? {} : { group }),
      name: own,
      version: entryOf(name)[0].slice(name.length + 1),
      hashes: [{ alg: "SHA-512", content: hexOf(entryOf(name)[3]) }],
      licenses,
      purl: refOf(name),
    };
  };
  const bases = Object.keys(lock.packages).filter((name) =>
    /^@oven\/bun-linux-(x64|aarch64)(-musl)?$/.test(name),
  );
  const self = `pkg:generic/noderax-agent@${release.version}`;
  const direct = Object.keys(manifest.dependencies).filter((name) => packages.includes(name));
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(`${self} ${release.commit} ${text}`)}`,
    version: 1,
    metadata: {
      timestamp: publishedAt(release),
      component: {
        type: "application",
        "bom-ref": self,
        name: "noderax-agent",
        version: release.version,
        licenses: [{ license: { id: manifest.license } }],
        purl: self,
      },
    },
    components: [
      ...bases.map((name) => component(name, "platform", BUN_LICENSES)),
      ...packages.map((name) => component(name, "library", licensesOf(manifestOf(name).license))),
    ],
    dependencies: [
      { ref: self, dependsOn: [...bases, ...direct].map(refOf) },
      ...packages.map((name) => ({
        ref: refOf(name),
        dependsOn: Object.keys(entryOf(name)[2].dependencies ?? {})
          .filter((other) => packages.includes(other))
          .map(refOf),
      })),
    ],
  };
}

/** Four packages, one program. */
const BUN_LICENSES = [
  { license: { id: "MIT" } },
  {
    license: {
      name: "of the libraries that are linked into it",
      url: "https://bun.com/docs/project/license",
    },
  },
];

/** What is no identifier of SPDX's is an expression of several. */
const licensesOf = (license: string): readonly object[] =>
  license.includes(" ") ? [{ expression: license }] : [{ license: { id: license } }];

const hexOf = (integrity: string): string =>
  Buffer.from(integrity.replace(/^sha512-/, ""), "base64").toString("hex");

/** A UUID that is the same for the same text (version 8). */
function uuidOf(text: string): string {
  const bytes = createHash("sha256").update(text).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
