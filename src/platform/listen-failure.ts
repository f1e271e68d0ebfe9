// Explains to people why this process cannot listen on an address.
import { errnoOf } from "../lib/errno.ts";
import { messageOf } from "../lib/agent-error.ts";
import { portHolder } from "./tcp-sockets.ts";

/** Returns the reason, worded to follow "cannot listen on 127.0.0.1:8080: ". */
export async function whyNotListening(error: unknown, port: number): Promise<string> {
  const code = errnoOf(error);
  if (code === "EADDRINUSE") return `${(await portHolder(port)) ?? "another program"} listens there`;
  if (code === "EACCES" || code === "EPERM") return "ports below 1024 are root's";
  if (code === "EADDRNOTAVAIL") return "this machine does not have that address";
  return messageOf(error);
}
