// Writes a patch between two files: `bun make-patch.ts OLD NEW PATCH`. A process of its own, since it needs 600 MB for a moment.
import { readFileSync, writeFileSync } from "node:fs";
import { makePatch } from "./patch.ts";

const [old = "", fresh = "", patch = ""] = Bun.argv.slice(2);
writeFileSync(patch, makePatch(readFileSync(old), readFileSync(fresh)));
