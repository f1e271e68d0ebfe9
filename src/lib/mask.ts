// Secrets as they may be shown: enough to compare by eye, too little to use.

/** "••••••••3f1c"; short secrets show nothing of themselves. */
export function mask(secret: string): string {
  return secret.length >= 16 ? `••••••••${secret.slice(-4)}` : "••••••••";
}
