// Calls to a running sandbox's operator side: where it is, what it answers, and what went wrong in words.
import { abortScope } from "../../../lib/abort-scope.ts";
import * as v from "valibot";
import { AgentError, type ExitCode, exit } from "../../../lib/agent-error.ts";
import { networkError } from "../../../control/network-error.ts";
import { seconds } from "../../../lib/duration.ts";
import { type Announced, findSandboxes } from "../../../sandbox/announce.ts";
import { OPERATOR_PREFIX } from "../../../sandbox/operator.ts";

/** The flags of every operator command. */
export const operatorArgs = {
  json: { type: "boolean", description: "print one JSON document" },
  url: {
    type: "string",
    description: "the sandbox's address (default: the one that runs here)",
    valueHint: "url",
  },
  token: { type: "string", description: "its operator token (or NODERAX_SANDBOX_TOKEN)", valueHint: "token" },
} as const;

export interface Operator {
  readonly url: string;
  call<const S extends v.GenericSchema>(
    method: string,
    path: string,
    schema: S,
    body?: unknown,
  ): Promise<v.InferOutput<S>>;
  /** Opens a websocket; what goes wrong with it shows as its `close`. */
  socket(path: string): WebSocket;
}

const Refusal = v.object({ message: v.string(), known: v.optional(v.array(v.string())) });

/** No answer within this time is no answer: the sandbox is on this machine or close to it. */
const PATIENCE = seconds(10);

/** Flags win over the environment, and that over the file a running sandbox leaves. Throws AgentError. */
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
  /** What to trust besides the usual authorities: the certificate of a sandbox found on this machine. */
  readonly ca: string | undefined;
}

function locate(url: string | undefined, token: string | undefined): Target {
  if (url && token) return { url: trimmed(url), token, ca: undefined };
  const here = url ? findSandboxes().find((one) => one.url === trimmed(url)) : sandboxHere();
  if (here !== undefined) return { url: here.url, token: token || here.operatorToken, ca: here.certificate };
  if (!url) {
    throw new AgentError("sandbox.none", "no sandbox runs here", {
      exit: exit.unreachable,
      hint: ["start one:  noderax-agent sandbox", "or name another with --url and --token"],
    });
  }
  if (token) return { url: trimmed(url), token, ca: undefined };
  throw new AgentError("sandbox.token", `the operator token of ${url} is needed`, {
    exit: exit.usage,
    hint: "pass --token, or set NODERAX_SANDBOX_TOKEN",
  });
}

/** The sandbox this user runs; undefined when there is none. Throws AgentError, exit 2, when there are several. */
export function sandboxHere(): Announced | undefined {
  const [one, ...others] = findSandboxes();
  if (one === undefined || others.length === 0) return one;
  throw new AgentError(
    "sandbox.several",
    `you run ${others.length + 1} sandboxes here: say which one is meant`,
    {
      exit: exit.usage,
      hint: [one, ...others].map(({ url, pid }) => `--url ${url}   (pid ${pid})`),
    },
  );
}

const trimmed = (url: string): string => url.replace(/\/+$/, "");

interface Call<S extends v.GenericSchema> {
  readonly method: string;
  readonly path: string;
  readonly schema: S;
  readonly body: unknown;
}

async function call<const S extends v.GenericSchema>(
  { url, token, ca }: Target,
  { method, path, schema, body }: Call<S>,
): Promise<v.InferOutput<S>> {
  using scope = abortScope([], PATIENCE);
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
    const { message } = networkError(error, url, PATIENCE, new AbortController().signal);
    throw new AgentError("sandbox.unreachable", message, {
      exit: exit.unreachable,
      hint: "start one:  noderax-agent sandbox",
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
      hint: "a sandbox of yours on this machine is found without --url and --token",
    });
  }
  const hint =
    known && (known.length === 0 ? "there is none yet" : ["there is:", ...known.map((one) => `  ${one}`)]);
  return new AgentError("sandbox.refused", message, {
    status,
    hint,
    exit: EXITS[status] ?? exit.failed,
  });
}
