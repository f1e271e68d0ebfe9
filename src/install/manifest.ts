// Reads and writes the record of what an installation created (/var/lib/noderax-agent/install.json), which makes its removal
// exact.
import { readFileSync } from "node:fs";
import * as v from "valibot";
import { writeFileAtomic } from "../platform/atomic-file.ts";
import { places } from "./places.ts";

const Entry = v.object({
  /** The name, for a user. */
  path: v.string(),
  kind: v.picklist(["directory", "program", "text", "link", "user"]),
  /** Whether it was there before the first installation. */
  existed: v.boolean(),
  /** A directory with the owner's data: removed only by --purge. */
  data: v.optional(v.boolean()),
  /** SHA-256 of a text that we wrote. */
  hash: v.optional(v.string()),
  target: v.optional(v.string()),
  home: v.optional(v.string()),
});
export type Entry = v.InferOutput<typeof Entry>;

const Manifest = v.object({ version: v.literal(1), entries: v.array(Entry) });
export type Manifest = v.InferOutput<typeof Manifest>;

/** Returns the record; undefined when there is none, or it cannot be parsed. */
export function readManifest(path: string = places.manifest): Manifest | undefined {
  try {
    const parsed = v.safeParse(Manifest, JSON.parse(readFileSync(path, "utf8")));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

export const writeManifest = (manifest: Manifest, path: string = places.manifest): void =>
  writeFileAtomic(path, `${JSON.stringify(manifest, null, 2)}\n`, 0o644);
