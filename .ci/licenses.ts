// The licences of everything in the executable, as one text: of this program, of Bun, and of each package.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { root } from "./bundle.ts";

export interface PackageManifest {
  readonly version: string;
  readonly license: string;
}

/** The manifest of an installed package. Throws when it states no licence: such code must not be passed on. */
export function manifestOf(name: string): PackageManifest {
  const manifest = JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")) as {
    version?: unknown;
    license?: unknown;
  };
  const { version, license } = manifest;
  if (typeof version !== "string" || typeof license !== "string")
    throw new Error(`${name} states no version or no licence in its package.json`);
  return { version, license };
}

/** Bun's own, with those of the libraries that are linked into it; the documentation comes with its types. */
const BUN = "node_modules/bun-types/docs/project/license.mdx";

/** Returns the text. `packages` are names in node_modules. */
export function licensesText(packages: readonly string[]): string {
  const bun = readFileSync(join(root, BUN), "utf8").replace(/^---\n[^]*?\n---\n/, "");
  const parts = [
    part("noderax-agent", readFileSync(join(root, "LICENSE"), "utf8")),
    part(`Bun ${Bun.version}`, bun),
    ...packages.map((name) => {
      const { version, license } = manifestOf(name);
      return part(`${name} ${version} (${license})`, textOf(name));
    }),
  ];
  return parts.join("\n");
}

const part = (title: string, text: string): string =>
  `${"=".repeat(80)}\n${title}\n${"=".repeat(80)}\n\n${text.trim()}\n`;

/** What the package says in its files of that name. Some have none, and state the licence in their manifest alone. */
function textOf(name: string): string {
  const directory = join(root, "node_modules", name);
  const files = existsSync(directory) ? readdirSync(directory).toSorted() : [];
  const texts = files
    .filter((file) => /^(licen[cs]e|copying|notice)([.-]|$)/i.test(file))
    .map((file) => readFileSync(join(directory, file), "utf8").trim());
  return texts.length > 0 ? texts.join("\n\n") : "The package comes without the text of its licence.";
}
