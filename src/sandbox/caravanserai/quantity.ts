// Kubernetes quantities: "4000m", "16Gi", "1.5G", "2e9". Pure.

const SUFFIXES: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The number behind a quantity, or undefined for what is none. */
export function parseQuantity(text: string): number | undefined {
  const [, number, exponent, suffix = ""] =
    /^([+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30}))(?:([eE][+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i))?$/.exec(text) ??
    [];
  if (number === undefined) return undefined;
  const value = Number(number + (exponent ?? "")) * (SUFFIXES[suffix] ?? 1);
  return Number.isFinite(value) ? value : undefined;
}
