// Masks secrets for display: the rest is enough to compare two of them, and too little to use.

/** Returns "••••••••3f1c": the last 4 characters of a secret of at least 16, none of a shorter one. */
export function mask(secret: string): string {
  return secret.length >= 16 ? `••••••••${secret.slice(-4)}` : "••••••••";
}
