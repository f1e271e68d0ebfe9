// Keeps a server bound to its address. A failure (port in use, privileged port, foreign address) is logged with the setting to
// change, and tried again; the rest of the agent goes on.
import { type ErrorCodeOf } from "../lib/error-codes.ts";
import { aborted } from "../lib/until.ts";
import { errnoOf } from "../lib/errno.ts";
import { LISTEN_ADDRESS_FORMS, type ListenAddress, formatHostPort } from "../lib/address.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { seconds } from "../lib/duration.ts";
import { type LoopRegistry, loop } from "../lib/loop.ts";
import { retry } from "../control/retry.ts";
import type { Log } from "../platform/log.ts";
import { portHolder } from "../platform/tcp-sockets.ts";

/** A listening server. */
export interface Bound {
  readonly port: number;
  close(): void | Promise<void>;
}

export interface BindOptions {
  /** Name of the loop and of the log entries. */
  readonly name: string;
  /** The setting that an error names, and its value: "proxy_listen_addr", ":8081". */
  readonly setting: string;
  readonly value: string;
  /** `undefined` for a value that is not an address, which is reported like other failures. */
  readonly address: ListenAddress | undefined;
  /** Throws or rejects with the runtime's error: EADDRINUSE, EACCES, EADDRNOTAVAIL. */
  listen(host: string, port: number): Bound | Promise<Bound>;
  readonly registry: LoopRegistry;
  readonly log: Log;
}

export interface Binding {
  /** Where it listens: "0.0.0.0:8081", "[::]:8081"; `undefined` while it does not. */
  address(): string | undefined;
  /** Why it does not listen; `undefined` while it does, and before the first attempt. */
  trouble(): string | undefined;
  /** Resolves when the server is closed, after `signal` aborted. */
  readonly done: Promise<void>;
}

const NO_IPV6 = ["EAFNOSUPPORT", "EADDRNOTAVAIL", "EINVAL"];

/** Listens until `signal` aborts, trying again with backoff after each failure. */
export function keepBound(options: BindOptions, signal: AbortSignal): Binding {
  const { name, registry, log } = options;
  let address: string | undefined;
  let trouble: string | undefined;

  const done = loop(
    {
      name,
      every: seconds(1),
      retry: retry.bind,
      onError(error) {
        const text = messageOf(error);
        if (text !== trouble) log.error(name, text);
        trouble = text;
      },
    },
    async (signal, report) => {
      report.note("binding");
      const { bound, host } = await bind(options);
      address = formatHostPort(host, bound.port);
      trouble = undefined;
      log.info(name, `listening on ${address}`);
      report.note(`listening on ${address}`);
      report.works();
      await aborted(signal);
      address = undefined;
      await bound.close();
    },
    registry,
    signal,
  );
  return { address: () => address, trouble: () => trouble, done };
}

async function bind(options: BindOptions): Promise<{ bound: Bound; host: string }> {
  const { setting, value, address } = options;
  for (const [index, host] of address?.hosts.entries() ?? []) {
    try {
      return { bound: await options.listen(host, address?.port ?? 0), host };
    } catch (error) {
      const isLast = index + 1 === address?.hosts.length;
      if (isLast || !NO_IPV6.includes(errnoOf(error))) throw await explained(error, host, options);
    }
  }
  throw new AgentError(
    "listen.address",
    `${setting} ${value}: this is not a listen address (${LISTEN_ADDRESS_FORMS})`,
  );
}

async function explained(
  error: unknown,
  host: string,
  { setting, value, address }: BindOptions,
): Promise<AgentError> {
  const port = address?.port ?? 0;
  const say = (code: ErrorCodeOf<"listen">, what: string): AgentError =>
    new AgentError(code, `${setting} ${value}: ${what}`, { cause: error });
  switch (errnoOf(error)) {
    case "EADDRINUSE":
      return say(
        "listen.taken",
        `port ${port} is in use by ${(await portHolder(port)) ?? "another program"}`,
      );
    case "EACCES":
    case "EPERM":
      return say("listen.forbidden", `port ${port} needs root, or the capability CAP_NET_BIND_SERVICE`);
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return say("listen.address", `${host} is not an address of this machine`);
    default:
      return say("listen.failed", messageOf(error));
  }
}
