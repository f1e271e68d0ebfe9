// Runs the agent's HTTP server: health for everyone, tunnels and logs for callers that access.ts admits.
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
import { IDLE_SECONDS, createRequestHandlers } from "./answer.ts";
import { type RefusedAttempt, createAttempts } from "./attempts.ts";
import { EVERYWHERE } from "../lib/address.ts";
import { keepBound } from "./bind.ts";
import type { Containers } from "./containers.ts";
import { createLogStreams } from "./logs.ts";
import { problem } from "./problem.ts";
import { createRenewableServer } from "./renewable-server.ts";
import { ENDPOINT_PATHS } from "./endpoints.ts";
import { type TlsPair, readTlsPair } from "./tls.ts";
import type { Tunnels } from "./tunnels-port.ts";

export type ListenerSettings = Pick<
  Settings,
  | "listen_address"
  | "listen_port"
  | "allow_forward"
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
  /** Names under which this node may be called: the machine's and the node's. */
  readonly names: readonly string[];
  /** The loops of both planes, for `/readyz`. */
  readonly loops: () => readonly LoopRecord[];
  readonly registry: LoopRegistry;
  /** Users of this machine who need no token. Default: root and the agent's own user. */
  readonly isTrustedUser?: (uid: number) => boolean;
  readonly log: Log;
  /** How often the certificate's files are read. Default 30 s. */
  readonly upkeepEvery?: Duration;
  /** How many logs may be read at the same time. Default 256. */
  readonly logsLimit?: number;
}

export interface ListenerStatus {
  /** "[::]:9090"; `undefined` while it does not listen: `trouble` says why. */
  readonly address: string | undefined;
  readonly trouble: string | undefined;
  readonly tls: boolean;
  readonly tunnels: number;
  readonly logs: number;
  /** Refused requests since the start. */
  readonly refused: number;
  readonly lastRefusal: RefusedAttempt | undefined;
  /** Settings that admit more callers than the owner may expect. */
  readonly warnings: readonly string[];
}

export interface Listener {
  /** `undefined` while it does not listen. */
  port(): number | undefined;
  status(): ListenerStatus;
  /** Resolves when everything is closed, after `signal` aborted. */
  readonly done: Promise<void>;
}

/** A new pair is written file by file: read again after this time before a mismatch is reported. */
const SECOND_READ: Duration = seconds(2);

/** Starts the server. A failure to listen is reported and tried again; nothing waits for it. Stops when `signal` aborts. */
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
  const allowForward = settings.allow_forward;
  const answer = createRequestHandlers({
    tunnels,
    logs,
    policy,
    allowForward,
    attempts,
    isTrustedUser,
    loops,
    log,
  });

  const server = createRenewableServer<Data>((hostname, port, pair) =>
    Bun.serve<Data>({
      hostname,
      port,
      // Bun's default is true: two agents would share the port, each with half of the connections.
      reusePort: false,
      idleTimeout: IDLE_SECONDS,
      maxRequestBodySize: 0,
      development: false,
      ...(pair && { tls: { cert: pair.cert, key: pair.key } }),
      routes: Object.fromEntries(ENDPOINT_PATHS.map((path) => [path, answer.route])),
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
  let reported: string | undefined;
  /** Uses a new pair if there is one, else keeps the old one. Resolves with the pause until the next read; `undefined` for the usual. */
  async function renewCertificate(report: LoopReport): Promise<Duration | undefined> {
    try {
      const pair = await readPair();
      if (pair !== undefined && server.renew(pair)) log.info("listener", "the new certificate is in use");
      unusable = undefined;
      reported = undefined;
      report.note("");
      return undefined;
    } catch (error) {
      const text = messageOf(error);
      const note = `the certificate of before stays in use: ${text}`;
      report.note(note);
      if (unusable !== text) {
        unusable = text;
        return Math.min(SECOND_READ, upkeepEvery);
      }
      if (reported !== text) log.warn("listener", note);
      reported = text;
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
