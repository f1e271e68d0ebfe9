// The ingress: an HTTP proxy that routes by Host header to the containers of projects. On by default on :8081, open to everyone who
// can reach the port: the ingress rules of a project decide what is exposed.
import { minutes, seconds } from "../../lib/duration.ts";
import type { LoopRegistry } from "../../lib/loop.ts";
import type { Log } from "../../platform/log.ts";
import { parseListenAddress, unmapped } from "../../lib/address.ts";
import { keepBound } from "../bind.ts";
import type { IngressRoute } from "../containers.ts";
import { exchange } from "./exchange.ts";
import { requestHeaders } from "./headers.ts";
import { type IngressRefusal, refuse } from "./page.ts";
import { askedOf, framingOf, valuesOf } from "./request.ts";
import { type Arrival, type IngressLimits, listen } from "./server.ts";

export const INGRESS_LIMITS: IngressLimits = {
  connect: seconds(5),
  header: seconds(60),
  idle: minutes(10),
  tunnel: minutes(60),
  head: seconds(20),
  keepAlive: seconds(60),
  // Each may buffer 128 KB when both sides stall: 512 MB together, and two descriptors each.
  connections: 4_096,
  grace: seconds(2),
};

export interface IngressPorts {
  /** The value of `proxy_listen_addr`, not empty: ":8081", "127.0.0.1:8081", "[::1]:8081". */
  readonly address: string;
  /** Called for every request; returns the same array while nothing changed. */
  readonly routes: () => readonly IngressRoute[];
  readonly registry: LoopRegistry;
  readonly log: Log;
  readonly limits?: Partial<IngressLimits>;
}

export interface IngressStatus {
  /** `undefined` while it does not listen: `trouble` says why. */
  readonly address: string | undefined;
  readonly routes: number;
  /** Since the start: all requests; those refused (no route, or malformed); those whose container failed. */
  readonly requests: number;
  readonly refused: number;
  readonly failed: number;
  readonly trouble: string | undefined;
}

export interface Ingress {
  status(): IngressStatus;
  /** Resolves when every connection is closed, after `signal` aborted. */
  readonly done: Promise<void>;
}

/** Starts the proxy. Headers by which a client could claim another address or identity are replaced. Stops when `signal` aborts. */
export function startIngress(ports: IngressPorts, signal: AbortSignal): Ingress {
  const { routes, registry, log } = ports;
  const limits = { ...INGRESS_LIMITS, ...ports.limits };
  const find = createFinder(routes);
  const note = createHealth(log);
  const count = { requests: 0, refused: 0, failed: 0 };

  function serve({ incoming, outgoing, agent, isExcess, expects, upgrade }: Arrival): void {
    count.requests++;
    const turnAway = (refusal: IngressRefusal): void => {
      count.refused++;
      refuse(outgoing, refusal);
    };
    const { method = "GET", url = "", rawHeaders, httpVersion, socket } = incoming;
    if (isExcess) return turnAway("busy");
    // A TRACE answer repeats the request: it would show a page the cookies that the browser hides from it.
    if (method === "TRACE") return turnAway("method");
    const asked = askedOf(url, rawHeaders);
    const framing = framingOf(httpVersion, rawHeaders);
    if (asked === undefined || framing === "refused") return turnAway("broken");
    const route = find(asked.host);
    if (route === undefined) return turnAway("unknown");
    const settle = (failure: string | undefined): void => {
      if (failure !== undefined) count.failed++;
      note(route, failure);
    };
    if (route.address === undefined) {
      settle("no container runs");
      return refuse(outgoing, "away");
    }
    const headers = requestHeaders(rawHeaders, {
      authority: asked.authority,
      framing,
      method,
      client: unmapped(socket.remoteAddress ?? ""),
      expects,
      upgrade: upgrade === undefined ? undefined : valuesOf("upgrade", rawHeaders).join(", "),
    });
    const { address, port } = route;
    const { path } = asked;
    exchange(incoming, outgoing, { address, port, path, headers, framing, agent, limits, upgrade, settle });
  }

  const binding = keepBound(
    {
      name: "ingress",
      setting: "proxy_listen_addr",
      value: ports.address,
      address: parseListenAddress(ports.address),
      listen: (host, port) => listen({ host, port, limits, serve, onRefused: () => void count.refused++ }),
      registry,
      log,
    },
    signal,
  );
  return {
    status: () => ({
      address: binding.address(),
      routes: routes().length,
      ...count,
      trouble: binding.trouble(),
    }),
    done: binding.done,
  };
}

function createFinder(routes: () => readonly IngressRoute[]): (host: string) => IngressRoute | undefined {
  let known: readonly IngressRoute[] | undefined;
  let byHost = new Map<string, IngressRoute>();
  return (host) => {
    const now = routes();
    if (now !== known) byHost = new Map(now.map((route) => [route.host, route]));
    known = now;
    return byHost.get(host);
  };
}

const FAILING_HOSTS_MAX = 1_000;

/** Logs when a host begins to fail and when it answers again, not each request. */
function createHealth(log: Log): (route: IngressRoute, failure: string | undefined) => void {
  const troubled = new Map<string, string>();
  return ({ host, project, service }, failure) => {
    if (troubled.get(host) === failure) return;
    const what = `${host}, service ${service} of project ${project}`;
    if (failure === undefined) {
      troubled.delete(host);
      return log.info("ingress", `${what}: answers again`);
    }
    if (!troubled.has(host)) log.warn("ingress", `${what}: ${failure}`);
    // Bounded: hosts that were removed are dropped with the rest.
    if (troubled.size >= FAILING_HOSTS_MAX) troubled.clear();
    troubled.set(host, failure);
  };
}
