// What listens on this machine: the agent's own HTTP server with its tunnels, and the ingress where it is not switched off.
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
  /** Under which this node may be called: the machine's name and the node's. */
  readonly names: readonly string[];
  readonly containers: Containers;
  /** Users of this machine who may do with Docker what they want. */
  readonly isTrustedUser: (uid: number) => boolean;
  /** The same array as long as nothing changed. */
  readonly routes: () => readonly IngressRoute[];
  /** Of both planes. */
  readonly loops: () => readonly LoopRecord[];
  readonly registry: LoopRegistry;
  readonly log: Log;
}

export interface Listeners {
  /** What the server tells its clients; undefined while a free one has not been found yet. */
  port(): number | undefined;
  /** To be called after each look at Docker. */
  looked(isRunning: (id: string) => boolean): void;
  status(): Pick<CaravanseraiStatus, "listener" | "ingress">;
  readonly done: Promise<void>;
}

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

/** Where it listens, and why not, as the status has them. */
const orNull = <T extends { address: string | undefined; trouble: string | undefined }>(
  status: T,
): Omit<T, "address" | "trouble"> & { address: string | null; trouble: string | null } => ({
  ...status,
  address: status.address ?? null,
  trouble: status.trouble ?? null,
});
