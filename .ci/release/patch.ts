// Makes a patch from one executable to another: what `src/install/update/patch.ts` applies. Deterministic.
//
// Copies are found by a rolling hash of 24 bytes and extended to both sides. A gap between two copies of one distance is
// mostly an address that has moved: only the differences are stored, which compress to almost nothing.
import { PATCH_HEADER, PATCH_RECORD } from "../../src/install/update/patch.ts";

/** Bytes that must be equal for a copy to begin. */
const ANCHOR = 24;
const PRIME = 0x01000193;
const SLOTS = 1 << 23;
const LEVEL = 19;

interface Copy {
  readonly to: number;
  readonly from: number;
  readonly length: number;
}

/** Returns the bytes of the patch: 1.4 MB for two builds of 118 MB, in 6 s. */
export function makePatch(old: Uint8Array, fresh: Uint8Array): Buffer {
  const records = Buffer.concat(recordsOf(old, fresh, copiesOf(old, fresh)));
  const frame = Bun.zstdCompressSync(records, { level: LEVEL });
  return Buffer.concat([Buffer.from(PATCH_HEADER, "latin1"), frame]);
}

/** The parts of `fresh` that occur in `old`, in the order of `fresh`, without overlaps. */
function copiesOf(old: Uint8Array, fresh: Uint8Array): Copy[] {
  const anchors = new Int32Array(SLOTS).fill(-1);
  for (let at = 0; at + ANCHOR <= old.length; at += ANCHOR) anchors[slotOf(hashAt(old, at))] = at;
  let leaving = 1;
  for (let step = 1; step < ANCHOR; step++) leaving = Math.imul(leaving, PRIME);

  const copies: Copy[] = [];
  let [at, covered, distance] = [0, 0, 0];
  let hash = hashAt(fresh, 0);
  while (at + ANCHOR <= fresh.length) {
    // The distance of the last copy first: then the gap before it holds changed bytes, not new ones.
    const from = [at + distance, anchors[slotOf(hash)] ?? -1].find((place) => isEqual(old, place, fresh, at));
    if (from === undefined) {
      hash = Math.imul((hash - Math.imul(fresh[at] ?? 0, leaving)) | 0, PRIME);
      hash = (hash + (fresh[at + ANCHOR] ?? 0)) | 0;
      at++;
      continue;
    }
    const copy = extended(old, from, fresh, at, covered);
    copies.push(copy);
    distance = copy.from - copy.to;
    covered = at = copy.to + copy.length;
    hash = hashAt(fresh, at);
  }
  return copies;
}

/** Extends an equal place backwards, as far as nothing is covered yet, and forwards. */
function extended(old: Uint8Array, from: number, fresh: Uint8Array, at: number, covered: number): Copy {
  let [to, source] = [at, from];
  while (to > covered && source > 0 && fresh[to - 1] === old[source - 1]) {
    to--;
    source--;
  }
  let length = at - to + ANCHOR;
  while (
    to + length < fresh.length &&
    source + length < old.length &&
    fresh[to + length] === old[source + length]
  )
    length++;
  return { to, from: source, length };
}

function recordsOf(old: Uint8Array, fresh: Uint8Array, copies: readonly Copy[]): Uint8Array[] {
  const records: Uint8Array[] = [Uint8Array.from(number(fresh.length))];
  let [at, cursor] = [0, 0];
  for (const copy of [...copies, { to: fresh.length, from: -1, length: 0 }]) {
    const gap = fresh.subarray(at, copy.to);
    const isChanged = gap.length > 0 && at > 0 && copy.from - cursor === gap.length;
    if (isChanged) {
      const changes = gap.map((byte, index) => (byte - (old[cursor + index] ?? 0)) & 0xff);
      records.push(Uint8Array.from([PATCH_RECORD.changed, ...number(gap.length)]), changes);
      cursor += gap.length;
    } else if (gap.length > 0)
      records.push(Uint8Array.from([PATCH_RECORD.literal, ...number(gap.length)]), gap);
    if (copy.length === 0) break;
    const distance = signed(copy.from - cursor);
    records.push(Uint8Array.from([PATCH_RECORD.copy, ...distance, ...number(copy.length)]));
    cursor = copy.from + copy.length;
    at = copy.to + copy.length;
  }
  return records;
}

function hashAt(bytes: Uint8Array, at: number): number {
  let hash = 0;
  for (let step = 0; step < ANCHOR; step++) hash = (Math.imul(hash, PRIME) + (bytes[at + step] ?? 0)) | 0;
  return hash;
}

const slotOf = (hash: number): number => (hash ^ (hash >>> 15)) & (SLOTS - 1);

function isEqual(old: Uint8Array, from: number, fresh: Uint8Array, at: number): boolean {
  if (from < 0 || from + ANCHOR > old.length) return false;
  for (let step = 0; step < ANCHOR; step++) if (old[from + step] !== fresh[at + step]) return false;
  return true;
}

function number(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}

const signed = (value: number): number[] => number(value < 0 ? -2 * value - 1 : 2 * value);
