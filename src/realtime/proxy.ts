// Finds the session's proxy in the environment: Bun's fetch does so itself, its WebSocket does not.
import { AgentError, exit } from "../lib/agent-error.ts";

/**
 * Returns the address of the proxy by the rules of Bun's fetch: lower case first, ALL_PROXY for both schemes, an empty
 * variable counts as none; undefined without a proxy. NO_PROXY is left to Bun's WebSocket, which applies it. Throws an
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
