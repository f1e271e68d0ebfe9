// Cuts a stream of arbitrary bytes at character boundaries, so that its pieces decode to the same text as the
// whole.

/**
 * Number of bytes after a lead byte, and the range of the first of them; undefined for a byte that leads
 * nothing.
 */
function expects(lead: number): { more: number; low: number; high: number } | undefined {
  if (lead >= 0xc2 && lead <= 0xdf) return { more: 1, low: 0x80, high: 0xbf };
  if (lead === 0xe0) return { more: 2, low: 0xa0, high: 0xbf };
  if (lead === 0xed) return { more: 2, low: 0x80, high: 0x9f };
  if (lead >= 0xe1 && lead <= 0xef) return { more: 2, low: 0x80, high: 0xbf };
  if (lead === 0xf0) return { more: 3, low: 0x90, high: 0xbf };
  if (lead >= 0xf1 && lead <= 0xf3) return { more: 3, low: 0x80, high: 0xbf };
  if (lead === 0xf4) return { more: 3, low: 0x80, high: 0x8f };
  return undefined;
}

/**
 * Returns the length of the character at `at`, or of the broken sequence that a decoder replaces by one
 * U+FFFD; "incomplete" when the bytes end inside a sequence that is valid so far.
 */
function characterAt(bytes: Uint8Array, at: number): number | "incomplete" {
  const rule = expects(bytes[at] ?? 0);
  if (rule === undefined) return 1;
  for (let k = 1; k <= rule.more; k++) {
    const byte = bytes[at + k];
    if (byte === undefined) return "incomplete";
    const [low, high] = k === 1 ? [rule.low, rule.high] : [0x80, 0xbf];
    if (byte < low || byte > high) return k;
  }
  return rule.more + 1;
}

/** Returns how many of `bytes` are complete characters: all, or all but the last one to three. */
export function completeLength(bytes: Uint8Array): number {
  const end = bytes.length;
  for (let back = 1; back <= Math.min(3, end); back++) {
    const lead = bytes[end - back] ?? 0;
    if (lead >= 0xc0) return characterAt(bytes, end - back) === "incomplete" ? end - back : end;
    if (lead < 0x80) return end;
  }
  return end;
}

/**
 * Returns the longest prefix of whole characters with at most `max` code points, and how many bytes it took.
 * With `last`, an incomplete character at the end counts as one broken character. Broken bytes and NUL become
 * U+FFFD: the control plane's database refuses NUL.
 */
export function takeText(bytes: Uint8Array, max: number, last: boolean): { text: string; bytes: number } {
  let end = 0;
  for (let count = 0; end < bytes.length && count < max; count++) {
    const length = characterAt(bytes, end);
    if (length === "incomplete") {
      if (last) end = bytes.length;
      break;
    }
    end += length;
  }
  return { text: decodeText(bytes.subarray(0, end)), bytes: end };
}

/** Decodes UTF-8. Broken bytes and NUL become U+FFFD, as in `takeText`. */
export function decodeText(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes).replaceAll("\0", "\uFFFD");
}
