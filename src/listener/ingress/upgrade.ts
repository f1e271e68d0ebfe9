// Joins client and container after a 101 answer. The ingress passes bytes of any protocol unchanged.
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duration } from "../../lib/duration.ts";
import { responseHeaders } from "./headers.ts";
import { valuesOf } from "./request.ts";

export interface UpgradedEnd {
  readonly socket: Socket;
  /** Bytes already read behind the head. */
  readonly head: Buffer;
}

/** Sends the container's 101 answer to the client and joins both until they close, or nothing passes for `idle` (ms). */
export function switchProtocols(
  answer: IncomingMessage,
  client: UpgradedEnd,
  container: UpgradedEnd,
  idle: Duration,
): void {
  const headers = responseHeaders(answer.rawHeaders, false);
  const lines = [`HTTP/1.1 101 ${answer.statusMessage ?? ""}`];
  for (let at = 0; at < headers.length; at += 2) lines.push(`${headers[at]}: ${headers[at + 1]}`);
  lines.push("Connection: Upgrade", `Upgrade: ${valuesOf("upgrade", answer.rawHeaders).join(", ")}`);
  client.socket.write(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  joinEnds(client, container, idle);
}

/** One side may end while the other continues. When one breaks, or nothing passes for `idle` (ms), both are closed. */
function joinEnds(client: UpgradedEnd, container: UpgradedEnd, idle: Duration): void {
  const [a, b] = [client.socket, container.socket];
  for (const [one, other, head] of [
    [a, b, client.head],
    [b, a, container.head],
  ] as const) {
    one.setNoDelay(true);
    // Every byte passes both sockets, so either timeout means that nothing passed.
    one.setTimeout(idle, () => one.destroy());
    one.on("error", () => one.destroy());
    // Bytes read from the closed side are still written.
    one.on("close", () => (one.readableEnded ? other.destroySoon() : other.destroy()));
    if (head.length > 0) other.write(head);
    one.pipe(other);
  }
}
