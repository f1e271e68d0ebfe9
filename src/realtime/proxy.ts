// Through which proxy the session goes: Bun's fetch reads that from the environment, its WebSocket wants to be told.
import { AgentError, exit } from "../lib/agent-error.ts";

/**
 * The address of the proxy by the rules of Bun's fetch: small letters first, ALL_PROXY for both schemes, an empty variable
 * counts as none. NO_PROXY is not looked at: Bun's WebSocket minds it, also when it is given a proxy. Throws an
 * AgentError `realtime.proxy` that names the variable, never its value, which may hold a password.
 */
export function proxyFor(url: URL, env: Readonly<Record<string, string | undefined>>): string | undefined {
  const scheme = url.protocol === "https:" || url.protocol === "wss:" ? "https" : "http";
  const names = [`${scheme}_proxy`, `${scheme.toUpperCase()}_PROXY`, "all_proxy", "ALL_PROXY"];
  const name = names.find((candidate) => env[candidate]);
  const value = name === undefined ? undefined : env[name];
  if (value === undefined) return undefined;
  const parsed = URL.parse(value.includes("://") ? value : `http://${value}`);
  if (parsed === null || !["http:", "https:"].includes(parsed.protocol)) {
    throw new AgentError("realtime.proxy", `${name} is not the address of an HTTP proxy`, {
      hint: `Set ${name} to something like http://proxy.example.com:3128.`,
      exit: exit.usage,
    });
  }
  return parsed.href;
}
