// The agent's own HTTP server: health for everyone, tunnels and logs for those that access.ts lets in.
import { errnoOf } from "../lib/errno.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { type LoopRecord, type LoopRegistry, type LoopReport, loop } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import { retry } from "../control/retry.ts";
import type { Log } from "../platform/log.ts";
import { steadyNow } from "../lib/clock.ts";
import { createTrustedUsers } from "../platform/trusted-users.ts";
import { accessPolicy } from "./access.ts";
import { exposure } from "./access-exposure.ts";
import { IDLE_SECONDS, createAnswer } from "./answer.ts";
import { type RefusedAttempt, createAttempts } from "./attempts.ts";
import { EVERYWHERE } from "../lib/address.ts";
import { keepBound } from "./bind.ts";
import type { Containers } from "./containers.ts";
import { createLogStreams } from "./logs.ts";
import { problem } from "./problem.ts";
import { createRenewableServer } from "./renewable-server.ts";
import { PATHS } from "./routes.ts";
import { type TlsPair, readTlsPair } from "./tls.ts";
import type { Tunnels } from "./tunnels-port.ts";

export type ListenerSettings = Pick<
  Settings,
  | "listen_address"
  | "listen_port"
  | "listen_allow"
  | "listen_token"
  | "listen_local"
  | "listen_hosts"
  | "listen_origins"
  | "listen_tls_cert"
  | "listen_tls_key"
  | "tunnel_idle_limit"
>;

export interface ListenerPorts<Data> {
  readonly containers: Containers;
  readonly tunnels: Tunnels<Data>;
  /** Under which this node may be called: the machine's name and the node's. */
  readonly names: readonly string[];
  /** Of both planes, for `/readyz`. */
  readonly loops: () => readonly LoopRecord[];
  readonly registry: LoopRegistry;
  /** Users of this machine who need no token; root and the agent's own user when left out. */
  readonly isTrustedUser?: (uid: number) => boolean;
  readonly log: Log;
  /** How often the certificate's files are looked at; half a minute when left out. */
  readonly upkeepEvery?: Duration;
  /** How many logs are read at the same time; 256 when left out. */
  readonly logsLimit?: number;
}

export interface ListenerStatus {
  /** "[::]:9090"; undefined while it listens nowhere, and `trouble` says why. */
  readonly address: string | undefined;
  readonly trouble: string | undefined;
  readonly tls: boolean;
  readonly tunnels: number;
  readonly logs: number;
  /** Tries, since the start. */
  readonly refused: number;
  readonly lastRefusal: RefusedAttempt | undefined;
  /** What opens it wider than its owner may know. */
  readonly warnings: readonly string[];
}

export interface Listener {
  /** Undefined while it listens nowhere. */
  port(): number | undefined;
  status(): ListenerStatus;
  /** Resolves when nothing is open any more, after `signal` aborted. */
  readonly done: Promise<void>;
}

/** A new pair is written file by file: the other one is here soon. */
const SECOND_LOOK: Duration = seconds(2);

/** Whatever keeps it from listening is said, and tried again: nothing else waits for it. */
export function startListener<Data>(
  ports: ListenerPorts<Data>,
  settings: ListenerSettings,
  signal: AbortSignal,
): Listener {
  const { containers, tunnels, loops, registry, log, upkeepEvery = seconds(30) } = ports;
  const { listen_address: ownAddress, listen_tls_cert: certPath, listen_tls_key: keyPath } = settings;
  const warnings = exposure(settings);
  for (const warning of warnings) log.warn("listener", warning);
  const attempts = createAttempts({
    now: steadyNow,
    audit: (text, fields) => log.warn("listener", text, fields),
  });
  const logs = createLogStreams(
    { containers, limit: ports.logsLimit ?? 256, stalledLimit: settings.tunnel_idle_limit },
    signal,
  );
  const policy = accessPolicy(settings, ports.names);
  const isTrustedUser = ports.isTrustedUser ?? createTrustedUsers(undefined);
  const answer = createAnswer({ tunnels, logs, policy, attempts, isTrustedUser, loops, log });

  const server = createRenewableServer<Data>((hostname, port, pair) =>
    Bun.serve<Data>({
      hostname,
      port,
      // Bun's default without `development`: two agents would share the port, each with half of the connections.
      reusePort: false,
      idleTimeout: IDLE_SECONDS,
      maxRequestBodySize: 0,
      development: false,
      ...(pair && { tls: { cert: pair.cert, key: pair.key } }),
      routes: Object.fromEntries(PATHS.map((path) => [path, answer.route])),
      fetch: answer.elsewhere,
      websocket: tunnels.websocket,
      error(error) {
        log.error("listener", `a request failed: ${messageOf(error)}`);
        return problem(500, "Internal Server Error", "the agent's log says what happened");
      },
    }),
  );

  const readPair = async (): Promise<TlsPair | undefined> =>
    certPath === undefined || keyPath === undefined ? undefined : readTlsPair(certPath, keyPath);

  const binding = keepBound(
    {
      name: "listener",
      setting: "listen_port",
      value: String(settings.listen_port),
      address: { hosts: ownAddress === undefined ? EVERYWHERE : [ownAddress], port: settings.listen_port },
      async listen(host, port) {
        const pair = await readPair();
        try {
          return server.open(host, port, pair);
        } catch (error) {
          throw ownAddress === undefined || !isForeign(error) ? error : foreignAddress(ownAddress, error);
        }
      },
      registry,
      log,
    },
    signal,
  );

  let unusable: string | undefined;
  let told: string | undefined;
  /** A pair that cannot be used is no failure: the one of before is. Resolves with the pause until the next look. */
  async function renewCertificate(report: LoopReport): Promise<Duration | undefined> {
    try {
      const pair = await readPair();
      if (pair !== undefined && server.renew(pair)) log.info("listener", "the new certificate is in use");
      unusable = undefined;
      told = undefined;
      report.note("");
      return undefined;
    } catch (error) {
      const text = messageOf(error);
      const note = `the certificate of before stays in use: ${text}`;
      report.note(note);
      if (unusable !== text) {
        unusable = text;
        return Math.min(SECOND_LOOK, upkeepEvery);
      }
      if (told !== text) log.warn("listener", note);
      told = text;
      return undefined;
    }
  }
  const upkeep = loop(
    { name: "listener-upkeep", every: upkeepEvery, retry: retry.local },
    async (_, report) => {
      attempts.sweep();
      return server.port() === undefined ? undefined : renewCertificate(report);
    },
    registry,
    signal,
  );

  return {
    port: () => server.port(),
    status: () => ({
      address: binding.address(),
      trouble: binding.trouble(),
      tls: certPath !== undefined,
      tunnels: tunnels.count(),
      logs: logs.count(),
      refused: attempts.count(),
      lastRefusal: attempts.last(),
      warnings,
    }),
    done: Promise.all([binding.done, upkeep]).then(() => {}),
  };
}

const isForeign = (error: unknown): boolean => ["EADDRNOTAVAIL", "EINVAL"].includes(errnoOf(error));

const foreignAddress = (address: string, cause: unknown): AgentError =>
  new AgentError("listen.address", `listen_address ${address} is not an address of this machine`, { cause });
