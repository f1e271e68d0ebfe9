// Tells URLs whose traffic can be read and changed on the network. Pure.
import { isLoopbackHost } from "./address.ts";

/**
 * Returns true for plain HTTP to another machine, false for HTTPS, loopback addresses and text that is no
 * URL.
 */
export function crossesInClear(url: string): boolean {
  const parsed = URL.parse(url);
  return parsed?.protocol === "http:" && !isLoopbackHost(parsed.hostname);
}
