// Whether others on the way can read and change what is exchanged with a URL. Pure.

/** True for plain HTTP to another machine; what stays on this one crosses no network. */
export function crossesInClear(url: string): boolean {
  const parsed = URL.parse(url);
  return parsed?.protocol === "http:" && !isLoopbackHost(parsed.hostname);
}

/** As a URL has it: in lower case, numbers of IPv4 in their usual form, IPv6 in brackets. */
function isLoopbackHost(hostname: string): boolean {
  const name = hostname.replace(/\.$/, "");
  if (name === "localhost" || name.endsWith(".localhost")) return true;
  return /^127(?:\.\d+){3}$/.test(name) || name === "[::1]" || /^\[::ffff:7f[\da-f]{2}:/.test(name);
}
