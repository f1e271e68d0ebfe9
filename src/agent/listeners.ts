// Starts the HTTP server of the agent with its tunnels, and the ingress unless it is switched off.
import { isoOf, wallOf } from "../lib/clock.ts";
import type { LoopRecord, LoopRegistry } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import type { Containers, IngressRoute } from "../listener/containers.ts";
import { startIngress } from "../listener/ingress/ingress.ts";
import { startListener } from "../listener/listener.ts";
import { createTunnels } from "../listener/tunnels.ts";
import type { CaravanseraiStatus } from "./status.ts";
import type { Log } from "../platform/log.ts";

export interface ListenersPorts {
  readonly settings: Settings;
  /** Host names of this node: the machine's name and the node's. */
  readonly names: readonly string[];
  readonly containers: Containers;
  /** Whether a user of this machine controls Docker anyway. */
  readonly isTrustedUser: (uid: number) => boolean;
  /** The same array as long as nothing changed. */
  readonly routes: () => readonly IngressRoute[];
  /** Of both planes. */
  readonly loops: () => readonly LoopRecord[];
  readonly registry: LoopRegistry;
  readonly log: Log;
}

export interface Listeners {
  /** Port that the server tells its clients; undefined until a free one was found. */
  port(): number | undefined;
  /** To be called after each snapshot of Docker. */
  looked(isRunning: (id: string) => boolean): void;
  status(): Pick<CaravanseraiStatus, "listener" | "ingress">;
  readonly done: Promise<void>;
}

/** Starts the HTTP server, its tunnels and the ingress proxy. They end when `signal` aborts. */
export function startListeners(ports: ListenersPorts, signal: AbortSignal): Listeners {
  const { settings, containers, routes, registry, log } = ports;
  const tunnels = createTunnels({ containers, idleLimit: settings.tunnel_idle_limit, log }, signal);
  const listener = startListener({ ...ports, tunnels }, settings, signal);
  const address = settings.proxy_listen_addr;
  const ingress = address === "" ? undefined : startIngress({ address, routes, registry, log }, signal);

  return {
    port: () => listener.port() ?? (settings.listen_port || undefined),
    looked: (isRunning) => tunnels.stopped(isRunning),
    status() {
      const { lastRefusal, warnings, ...rest } = listener.status();
      return {
        listener: {
          ...orNull(rest),
          warnings: [...warnings],
          last_refusal:
            lastRefusal === undefined ? null : { ...lastRefusal, at: isoOf(wallOf(lastRefusal.at)) },
        },
        ingress: ingress === undefined ? null : orNull(ingress.status()),
      };
    },
    done: Promise.all([listener.done, ingress?.done]).then(() => {}),
  };
}

/** Replaces undefined by null, as the status document has it. */
const orNull = <T extends { address: string | undefined; trouble: string | undefined }>(
  status: T,
): Omit<T, "address" | "trouble"> & { address: string | null; trouble: string | null } => ({
  ...status,
  address: status.address ?? null,
  trouble: status.trouble ?? null,
});
