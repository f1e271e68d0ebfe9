// Calls the operator API of a running sandbox: finds it, parses its answers, words its failures.
import { abortScope } from "../../../lib/abort-scope.ts";
import * as v from "valibot";
import { AgentError, type ExitCode, exit } from "../../../lib/agent-error.ts";
import { networkError } from "../../../control/network-error.ts";
import { type Duration, parseDuration, seconds } from "../../../lib/duration.ts";
import { type AnnouncedSandbox, findSandboxes } from "../../../sandbox/announce.ts";
import { OPERATOR_PREFIX } from "../../../sandbox/operator.ts";
import { usageError } from "../../walk.ts";

/** The flags of every operator command. */
export const operatorArgs = {
  json: { type: "boolean", description: "print one JSON document" },
  url: {
    type: "string",
    description: "the sandbox's address (default: the one this user runs)",
    valueHint: "url",
  },
  token: { type: "string", description: "its operator token (or NODERAX_SANDBOX_TOKEN)", valueHint: "token" },
} as const;

export interface Operator {
  readonly url: string;
  /** Throws "sandbox.refused", "sandbox.unreachable" and, for an answer of another shape, "sandbox.answer". */
  call<const S extends v.GenericSchema>(
    method: string,
    path: string,
    schema: S,
    body?: unknown,
  ): Promise<v.InferOutput<S>>;
  /** Opens a WebSocket. Its failures show as its `close` event. */
  socket(path: string): WebSocket;
}

const Refusal = v.object({ message: v.string(), known: v.optional(v.array(v.string())) });

/** Long enough for any answer: the sandbox is on this machine or near it. */
const ANSWER_TIMEOUT = seconds(10);

/**
 * Returns the sandbox that the flags name, else the environment, else the one this user runs. Throws "sandbox.none" when there is
 * none, "sandbox.several" and "sandbox.token" when a flag is needed.
 */
export function operator(
  args: { readonly url?: string | undefined; readonly token?: string | undefined },
  env: Readonly<Record<string, string | undefined>> = process.env,
): Operator {
  const target = locate(args.url ?? env["NODERAX_SANDBOX_URL"], args.token ?? env["NODERAX_SANDBOX_TOKEN"]);
  return {
    url: target.url,
    call: (method, path, schema, body) => call(target, { method, path, schema, body }),
    socket: (path) =>
      new WebSocket(`${target.url.replace(/^http/, "ws")}${OPERATOR_PREFIX}${path}`, {
        headers: { authorization: `Bearer ${target.token}` },
        ...(target.ca === undefined ? {} : { tls: { ca: target.ca } }),
      }),
  };
}

interface Target {
  readonly url: string;
  readonly token: string;
  /** A certificate to trust additionally: that of a sandbox found on this machine. */
  readonly ca: string | undefined;
}

function locate(url: string | undefined, token: string | undefined): Target {
  if (url && token) return { url: trimmed(url), token, ca: undefined };
  const here = url ? findSandboxes().find((one) => one.url === trimmed(url)) : sandboxHere();
  if (here !== undefined) return { url: here.url, token: token || here.operatorToken, ca: here.certificate };
  if (!url) {
    throw new AgentError("sandbox.none", "no sandbox runs here", {
      exit: exit.unreachable,
      hint: ["Start one:     noderax-agent sandbox", "Or name one with --url and --token."],
    });
  }
  if (token) return { url: trimmed(url), token, ca: undefined };
  throw new AgentError("sandbox.token", `the operator token of ${url} is needed`, {
    exit: exit.usage,
    hint: "Give --token, or set NODERAX_SANDBOX_TOKEN.",
  });
}

/** Returns the sandbox this user runs; `undefined` when there is none. Throws "sandbox.several" (exit 2). */
export function sandboxHere(): AnnouncedSandbox | undefined {
  const [one, ...others] = findSandboxes();
  if (one === undefined || others.length === 0) return one;
  throw new AgentError(
    "sandbox.several",
    `you run ${others.length + 1} sandboxes on this machine: choose one`,
    {
      exit: exit.usage,
      hint: [one, ...others].map(({ url, pid }) => `--url ${url}   (pid ${pid})`),
    },
  );
}

/** Parses a `--timeout`, in milliseconds; Infinity without one. Throws "cli.usage". */
export function timeoutOf(text: string | undefined, path: readonly string[]): Duration {
  if (text === undefined) return Infinity;
  const timeout = parseDuration(text);
  if (timeout !== undefined) return timeout;
  throw usageError(`--timeout: "${text}" is not a duration (give a unit: 30s, 1m)`, path);
}

const trimmed = (url: string): string => url.replace(/\/+$/, "");

interface OperatorCall<S extends v.GenericSchema> {
  readonly method: string;
  readonly path: string;
  readonly schema: S;
  readonly body: unknown;
}

async function call<const S extends v.GenericSchema>(
  { url, token, ca }: Target,
  { method, path, schema, body }: OperatorCall<S>,
): Promise<v.InferOutput<S>> {
  using scope = abortScope([], ANSWER_TIMEOUT);
  const [status, answer] = await fetchJson(url, `${url}${OPERATOR_PREFIX}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    signal: scope.signal,
    ...(ca === undefined ? {} : { tls: { ca } }),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (status >= 400) throw refusal(status, url, answer);
  const parsed = v.safeParse(schema, answer);
  if (parsed.success) return parsed.output;
  throw new AgentError("sandbox.answer", `${url} does not answer like a sandbox of this version`);
}

async function fetchJson(url: string, target: string, init: BunFetchRequestInit): Promise<[number, unknown]> {
  try {
    const response = await fetch(target, init);
    return [response.status, await response.json()];
  } catch (error) {
    const { message } = networkError(error, url, ANSWER_TIMEOUT, new AbortController().signal);
    throw new AgentError("sandbox.unreachable", message, {
      exit: exit.unreachable,
      hint: "Start one:  noderax-agent sandbox",
      cause: error,
    });
  }
}

const EXITS: Readonly<Record<number, ExitCode>> = {
  400: exit.usage,
  403: exit.refused,
  409: exit.refused,
  410: exit.refused,
};

function refusal(status: number, url: string, answer: unknown): AgentError {
  const parsed = v.safeParse(Refusal, answer);
  const { message, known } = parsed.success ? parsed.output : { message: `HTTP ${status}`, known: undefined };
  if (status === 401) {
    return new AgentError("sandbox.refused", `the sandbox at ${url} refused the operator token`, {
      status,
      exit: exit.refused,
      hint: "Your own sandbox on this machine is found without --url and --token.",
    });
  }
  const hint =
    known && (known.length === 0 ? "There is none yet." : ["There is:", ...known.map((one) => `  ${one}`)]);
  return new AgentError("sandbox.refused", message, {
    status,
    hint,
    exit: EXITS[status] ?? exit.failed,
  });
}
