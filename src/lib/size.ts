// Sizes with a unit ("512MiB", "1GiB", "100MB"), held as a number of bytes.

export const KIB = 1_024;
export const MIB = 1_048_576;

const UNITS: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: KIB,
  mib: MIB,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** Whole bytes, or `undefined` for anything else; a bare number is refused because nobody can tell its unit. */
export function parseSize(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]i?b|b)$/i.exec(text.trim()) ?? [];
  const bytes = Number(number) * (UNITS[unit?.toLowerCase() ?? ""] ?? Number.NaN);
  return Number.isSafeInteger(Math.round(bytes)) ? Math.round(bytes) : undefined;
}

/** The largest binary unit that divides the size evenly: "1GiB", "1536MiB", "1000B". */
export function formatSize(bytes: number): string {
  for (const unit of ["TiB", "GiB", "MiB", "KiB"]) {
    const size = UNITS[unit.toLowerCase()] ?? 1;
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}

/** A size for people, in steps of 1000: "999 B", "1.0 kB", "12.5 MB". */
export function humanSize(bytes: number): string {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  let value = bytes;
  // Not from 1000: 999.95 is written as 1000.0 as well.
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
