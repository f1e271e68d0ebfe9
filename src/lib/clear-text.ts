// Whether others on the way can read and change what is exchanged with a URL. Pure.
import { isLoopbackHost } from "./address.ts";

/** True for plain HTTP to another machine; what stays on this one crosses no network. */
export function crossesInClear(url: string): boolean {
  const parsed = URL.parse(url);
  return parsed?.protocol === "http:" && !isLoopbackHost(parsed.hostname);
}
