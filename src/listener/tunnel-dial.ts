// Connects to the first of a container's addresses that accepts.
import { errnoOf } from "../lib/errno.ts";
import { messageOf } from "../lib/agent-error.ts";
import { type Duration, formatDuration, milliseconds } from "../lib/duration.ts";
import type { ServiceSocket, Tunnel } from "./tunnel.ts";

const handlers: Bun.SocketHandler<Tunnel> = {
  open: (socket) => socket.data.serviceOpened(socket),
  data: ({ data: tunnel }, bytes) => tunnel.fromService(bytes),
  drain: ({ data: tunnel }) => tunnel.serviceDrained(),
  end: ({ data: tunnel }) => tunnel.serviceEnded(),
  close: ({ data: tunnel }, error) => tunnel.serviceClosed(error),
  // `close` follows, with the error.
  error: () => {},
};

/**
 * Resolves with the connected tunnel, made by `make`, or with the reason in words. The addresses share `limit` (ms) evenly;
 * a connection that opens later is closed.
 */
export async function dialContainer(
  addresses: readonly string[],
  port: number,
  make: () => Tunnel,
  limit: Duration,
  signal: AbortSignal,
): Promise<Tunnel | string> {
  let why = "it has no address on its project's network";
  for (const hostname of addresses) {
    const end = performance.now() + limit / addresses.length;
    for (let again = true; again && !signal.aborted;) {
      const begun = performance.now();
      const tunnel = make();
      const outcome = await dialOne(hostname, port, tunnel, Math.ceil(end - begun), signal);
      if (outcome === undefined) return tunnel;
      again = outcome === REFUSED && performance.now() - begun > LATE_REFUSAL && performance.now() < end;
      why = again ? UNREACHABLE : outcome;
    }
  }
  return why;
}

const REFUSED = "connection refused: nothing listens on that port in the container";
const UNREACHABLE = "the container's network cannot be reached";
/**
 * A container refuses at once. Bun reports the same error when nothing answers at the address, after a second or more. This
 * happens when a container has just taken over the address of another one, and the next attempt succeeds.
 */
const LATE_REFUSAL: Duration = milliseconds(250);

function dialOne(
  hostname: string,
  port: number,
  tunnel: Tunnel,
  limit: Duration,
  signal: AbortSignal,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    let late = false;
    const giveUp = (why: string): void => {
      late = true;
      settle(why);
    };
    const settle = (outcome: string | undefined): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
      resolve(outcome);
    };
    const aborted = (): void => giveUp("interrupted");
    const timer = setTimeout(() => giveUp(`no answer within ${formatDuration(limit)}`), limit);
    signal.addEventListener("abort", aborted, { once: true });
    if (signal.aborted) return aborted();
    Bun.connect({ hostname, port, allowHalfOpen: true, data: tunnel, socket: handlers }).then(
      (socket: ServiceSocket) => (late ? socket.terminate() : settle(undefined)),
      (error: unknown) => settle(wordsFor(error)),
    );
  });
}

function wordsFor(error: unknown): string {
  const code = errnoOf(error);
  if (code === "ECONNREFUSED") return REFUSED;
  if (code === "EHOSTUNREACH" || code === "ENETUNREACH") return UNREACHABLE;
  return messageOf(error);
}
