// After 101 the ingress passes bytes, of whatever protocol: compression, pings and close codes are between the two ends.
import type { Socket } from "node:net";
import type { Duration } from "../../lib/duration.ts";

export interface End {
  readonly socket: Socket;
  /** What was read of it already, behind the head. */
  readonly head: Buffer;
}

/** One side may end while the other goes on; when one is broken, or nothing passes for `idle`, both are closed. */
export function joinEnds(client: End, container: End, idle: Duration): void {
  const [a, b] = [client.socket, container.socket];
  for (const [one, other, head] of [
    [a, b, client.head],
    [b, a, container.head],
  ] as const) {
    one.setNoDelay(true);
    // Every byte passes through both, so that one of them would do; whichever notices first.
    one.setTimeout(idle, () => one.destroy());
    one.on("error", () => one.destroy());
    // What was taken from the side that is gone still goes out.
    one.on("close", () => (one.readableEnded ? other.destroySoon() : other.destroy()));
    if (head.length > 0) other.write(head);
    one.pipe(other);
  }
}
