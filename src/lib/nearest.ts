// Finds the known word closest to a mistyped one, for "did you mean".

/**
 * Returns the closest candidate within `limit` edits (default: a third of the word's length, at least 2), or
 * undefined.
 */
export function nearest(
  word: string,
  candidates: Iterable<string>,
  limit = Math.max(2, Math.floor(word.length / 3)),
): string | undefined {
  let best: { candidate: string; distance: number } | undefined;
  for (const candidate of candidates) {
    const distance = distanceTo(candidate.toLowerCase(), word.toLowerCase());
    if (distance <= limit && distance < (best?.distance ?? Infinity)) best = { candidate, distance };
  }
  return best?.candidate;
}

/** A word that was not typed to its end is nearer than any that has another letter: "stat" means status, not start. */
const distanceTo = (candidate: string, word: string): number =>
  word !== "" && candidate !== word && candidate.startsWith(word) && candidate.length - word.length <= 2
    ? UNFINISHED
    : editDistance(word, candidate);

/** Between none and one. */
const UNFINISHED = 0.5;

/** Returns the number of edits between two words; a swap of neighbours ("emial") counts as one. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(at(i - 1, j) + 1, (row[j - 1] ?? 0) + 1, at(i - 1, j - 1) + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, at(i - 2, j - 2) + 1);
      row.push(cost);
    }
  }
  return at(a.length, b.length);
}
