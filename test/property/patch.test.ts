// A patch makes the new file of the old one, whatever the two are, and anything else in its place makes an error.
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { makePatch } from "../../.ci/release/patch.ts";
import { AgentError } from "../../src/lib/agent-error.ts";
import { type PatchedFile, applyPatch } from "../../src/install/update/patch.ts";

const never = new AbortController().signal;
const SIZE_MAX = 10_000_000;

/** Applies a patch to files of the test's own. Returns what came of it, and the new file. */
async function applied(
  old: Uint8Array,
  patch: Uint8Array,
  sizeMax = SIZE_MAX,
): Promise<{ result: PatchedFile | string; content: Buffer }> {
  const directory = mkdtempSync(join(tmpdir(), "noderax-patch-"));
  const at = (name: string): string => join(directory, name);
  try {
    writeFileSync(at("old"), old);
    writeFileSync(at("patch"), patch);
    const paths = { old: at("old"), patch: at("patch"), target: at("new") };
    const result = await applyPatch(paths, sizeMax, never).catch((error: unknown) =>
      error instanceof AgentError ? error.message : `not ours: ${String(error)}`,
    );
    return { result, content: readFileSync(at("new")) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Pieces that both files may have, so that they resemble each other as two builds do. */
const piece = fc.oneof(
  fc.uint8Array({ minLength: 30, maxLength: 400 }),
  fc.integer({ min: 1, max: 2_000 }).map((length) => new Uint8Array(length)),
);
const twoBuilds = fc
  .tuple(
    fc.array(piece, { maxLength: 20 }),
    fc.array(piece, { maxLength: 6 }),
    fc.array(fc.nat(), { maxLength: 40 }),
  )
  .chain(([shared, own, edits]) =>
    fc.tuple(
      fc.constant(Buffer.concat(shared)),
      fc.shuffledSubarray([...shared, ...own]).map((pieces) => edited(Buffer.concat(pieces), edits)),
    ),
  );

/** Bytes that differ here and there, as addresses do. */
function edited(content: Buffer, edits: readonly number[]): Buffer {
  for (const edit of edits) if (content.length > 0) content[edit % content.length] = edit & 0xff;
  return content;
}

test("two builds, and any two files", async () => {
  const anyTwo = fc.tuple(fc.uint8Array({ maxLength: 3_000 }), fc.uint8Array({ maxLength: 3_000 }));
  await fc.assert(
    fc.asyncProperty(fc.oneof(twoBuilds, anyTwo), async ([old, fresh]) => {
      const { result, content } = await applied(old, makePatch(old, fresh));
      expect(content.equals(fresh)).toBe(true);
      const sha256 = new Bun.CryptoHasher("sha256").update(fresh).digest("hex");
      expect(result).toEqual({ size: fresh.length, sha256 });
    }),
    { numRuns: 60 },
  );
}, 120_000);

test("a patch that was cut, changed, or made for another file never passes for the new one", async () => {
  const old = Buffer.from(Array.from({ length: 50_000 }, (_, at) => (at * 7 + (at >> 8)) & 0xff));
  const fresh = Buffer.concat([
    old.subarray(20_000),
    Buffer.from("new text in between"),
    old.subarray(0, 25_000),
  ]);
  const good = makePatch(old, fresh);
  const bad = fc.oneof(
    fc.nat({ max: good.length - 1 }).map((length) => good.subarray(0, length)),
    fc.tuple(fc.nat({ max: good.length - 1 }), fc.integer({ min: 1, max: 255 })).map(([at, change]) => {
      const copy = Buffer.from(good);
      copy[at] = ((copy[at] ?? 0) + change) & 0xff;
      return copy;
    }),
    fc.uint8Array({ maxLength: 200 }),
  );
  await fc.assert(
    fc.asyncProperty(bad, async (patch) => {
      const { result, content } = await applied(old, patch);
      if (typeof result === "string") expect(result).toStartWith("the patch cannot be applied: ");
      // Some changes mean nothing, such as a flag of the frame; the hash is that of what was written, in any case.
      else expect(result.sha256).toBe(new Bun.CryptoHasher("sha256").update(content).digest("hex"));
    }),
    { numRuns: 300 },
  );
  expect((await applied(old.subarray(0, 1_000), good)).result).toContain("it was made for another file");
  expect((await applied(old, good, 1_000)).result).toContain("it makes a file of");
}, 120_000);
