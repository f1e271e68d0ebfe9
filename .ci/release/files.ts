// What a package holds: the program, link and unit of an installation, its completions and manual page, at the places that
// systems keep for packages.
import { readFileSync } from "node:fs";
import { hashOf } from "../../src/install/found.ts";
import { partsOf } from "../../src/install/parts.ts";
import { SHARED } from "../../src/install/places.ts";
import { PACKAGED } from "../../src/install/unit.ts";
import { run } from "./run.ts";

export type PackageFile =
  | { readonly path: string; readonly mode: number; readonly content: Uint8Array }
  | { readonly path: string; readonly target: string };

/** From where an installation puts a file to where a package does: /usr/local and /etc are the owner's. */
const PLACES = [
  ["/usr/local/", "/usr/"],
  ["/etc/systemd/system/", "/usr/lib/systemd/system/"],
] as const;

const TEXTS = [
  ["bash-completion/completions/noderax-agent", ["completion", "bash"]],
  ["zsh/site-functions/_noderax-agent", ["completion", "zsh"]],
  ["fish/vendor_completions.d/noderax-agent.fish", ["completion", "fish"]],
  ["man/man8/noderax-agent.8", ["man"]],
] as const;

/** Where `install` puts these. */
export const SHARED_TEXTS = TEXTS.map(([path]) => `${SHARED}/${path}`);

/** Lists files and links, without directories. Asks `speaker`, which must run here, for the texts of `executable`. */
export function packageFiles(executable: string, speaker: string = executable): readonly PackageFile[] {
  const shared = TEXTS.map(([path, words]) => ({
    path: `${SHARED}/${path}`,
    text: run([speaker, ...words]),
  }));
  const content = readFileSync(executable);
  const parts = partsOf({
    from: executable,
    hash: hashOf(content),
    ...PACKAGED,
    init: "systemd",
    user: "other",
    proxy: undefined,
    authorities: undefined,
    shared,
  });
  return parts.flatMap((part): readonly PackageFile[] => {
    const path = PLACES.reduce(
      (at, [from, to]) => (at.startsWith(from) ? to + at.slice(from.length) : at),
      part.path,
    );
    if (part.kind === "link") return [{ path, target: part.target }];
    if (part.kind === "program") return [{ path, mode: 0o755, content }];
    return part.kind === "text" ? [{ path, mode: part.mode, content: Buffer.from(part.text) }] : [];
  });
}
