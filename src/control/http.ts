// The one function that talks HTTP to a control plane: time-outs, abort, trust, correlation, errors that say what happened.
import { MIB } from "../lib/size.ts";
import { epochOf, wallNow } from "../lib/clock.ts";
import * as v from "valibot";
import { abortScope } from "../lib/abort-scope.ts";
import { AgentError, exit } from "../lib/agent-error.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { isTooDeep } from "../lib/json-depth.ts";
import { Problem } from "../protocol/caravanserai/resources.ts";
import { ErrorBody } from "../protocol/noderax/errors.ts";
import { networkError } from "./network-error.ts";
import { type ServerClock, createServerClock } from "./server-clock.ts";

/** An answer longer than this is refused: what a server sends must not fill our memory. */
const ANSWER_MAX = 32 * MIB;

export interface HttpCall<Schema extends v.GenericSchema> {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Below the base URL, with a leading slash. */
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
  /** What the body of a 2xx answer must look like; unknown fields are ignored. `NO_BODY` takes a 204 and nothing else. */
  readonly answer: Schema;
  readonly timeout: Duration;
  /** May be sent twice without harm: then one lost keep-alive connection is retried at once. */
  readonly idempotent: boolean;
  /** Use a connection of its own (long polls: a pooled one may just be closing on the other side). */
  readonly fresh?: boolean;
}

/**
 * Sends one request and returns the parsed answer. Throws an AgentError: `net.*`, `tls.*`, `aborted` (see
 * NetworkCode), `http.status` with `status` and the server's message, `http.redirect`, `http.foreign` for a refusal that
 * is not in the server's own words, `http.answer` for a body that is not what the contract says.
 */
export interface Http {
  <Schema extends v.GenericSchema>(
    call: HttpCall<Schema>,
    signal: AbortSignal,
  ): Promise<v.InferOutput<Schema>>;
  readonly serverClock: ServerClock;
}

/** What differs between the control planes: their name, the setting with their address, how an error is worded. */
export interface Dialect {
  /** "a Noderax API" */
  readonly name: string;
  readonly setting: "api_url" | "server_url";
  /** The message of an error answer in the server's own form; undefined for a body of any other form. */
  message(body: unknown, status: number): string | undefined;
}

/** The answer to a call whose success is a 204. A page with status 200 is none. */
export const NO_BODY = v.undefined();

export const NODERAX: Dialect = {
  name: "a Noderax API",
  setting: "api_url",
  message(body) {
    const parsed = v.safeParse(ErrorBody, body);
    return parsed.success ? parsed.output.message : undefined;
  },
};

export const CARAVANSERAI: Dialect = {
  name: "a Caravanserai server",
  setting: "server_url",
  message(body, status) {
    const parsed = v.safeParse(Problem, body);
    if (!parsed.success || parsed.output.status !== status) return undefined;
    const { type, title, detail } = parsed.output;
    return detail || title || type;
  },
};

export interface HttpOptions {
  readonly baseUrl: string;
  /** Default: Noderax. */
  readonly dialect?: Dialect;
  /** PEM of all trusted authorities; asked for once, when the first https request is made. */
  readonly authorities: () => string;
}

export function createHttp({ baseUrl, authorities, dialect = NODERAX }: HttpOptions): Http {
  const base = baseUrl.replace(/\/+$/, "");
  const { origin, protocol } = new URL(base);
  const serverClock = createServerClock();
  let trusted: string | undefined;
  const tls = (): { ca: string } => ({ ca: (trusted ??= authorities()) });

  return Object.assign(send, { serverClock });

  async function send<Schema extends v.GenericSchema>(
    call: HttpCall<Schema>,
    signal: AbortSignal,
  ): Promise<v.InferOutput<Schema>> {
    for (let attempt = 1; ; attempt++) {
      const { response, text } = await exchange(call, signal).catch((error: unknown) => {
        const failure =
          error instanceof AgentError
            ? error
            : networkError(error, origin, call.timeout, signal, dialect.setting);
        if (failure.code === "net.reset" && call.idempotent && attempt === 1)
          return { response: undefined, text: "" };
        throw failure;
      });
      if (response !== undefined) return readAnswer(call.answer, response, text, base, dialect);
    }
  }

  async function exchange(
    call: HttpCall<v.GenericSchema>,
    signal: AbortSignal,
  ): Promise<{ response: Response; text: string }> {
    // One clock for head and body: a server that sends a byte a second must not hold us for ever.
    using scope = abortScope([signal], call.timeout);
    const response = await fetch(base + call.path, {
      method: call.method,
      headers: {
        accept: "application/json",
        "x-correlation-id": crypto.randomUUID(),
        ...(call.body === undefined ? {} : { "content-type": "application/json" }),
        ...call.headers,
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      // Never followed: a redirect would carry the token to another place.
      redirect: "manual",
      keepalive: call.fresh !== true,
      signal: scope.signal,
      ...(protocol === "https:" ? { tls: tls() } : {}),
    });
    serverClock.heard(response.headers.get("date"));
    return { response, text: await readText(response) };
  }
}

async function readText(response: Response): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > ANSWER_MAX)
      throw new AgentError("http.answer", "the server's answer is larger than 32 MB");
  }
  return text + decoder.decode();
}

function readAnswer<Schema extends v.GenericSchema>(
  schema: Schema,
  response: Response,
  text: string,
  base: string,
  dialect: Dialect,
): v.InferOutput<Schema> {
  if (response.status >= 300 && response.status < 400) {
    throw new AgentError(
      "http.redirect",
      `${base} redirects to ${response.headers.get("location") ?? "another place"}`,
      {
        status: response.status,
        hint: `Set ${dialect.setting} to the final address; nothing is sent along a redirect.`,
        exit: exit.unreachable,
      },
    );
  }
  if (!response.ok) throw statusError(response, text, base, dialect);
  const parsed = v.safeParse(schema, bodyOf(response, text));
  if (parsed.success) return parsed.output;
  const where = parsed.issues.map((issue) => v.getDotPath(issue) ?? "body").slice(0, 3);
  throw new AgentError(
    "http.answer",
    `${base} answered with something else than ${dialect.name} (${where.join(", ")})`,
    {
      hint: `Check ${dialect.setting}.`,
      exit: exit.unreachable,
    },
  );
}

/** Refusals that keep their meaning whoever says so: a proxy has limits and time-outs of its own. */
const ANYBODYS = new Set([408, 413, 425, 429]);

/**
 * A refusal is only the server's when it is in its words: the 404 of a proxy whose backend is being replaced, or the 403 of
 * a captive portal, must not end a task or remove a container.
 */
function statusError(response: Response, text: string, base: string, dialect: Dialect): AgentError {
  const { status } = response;
  const said = dialect.message(parseJson(text), status);
  if (said === undefined && status < 500 && !ANYBODYS.has(status)) {
    return new AgentError(
      "http.foreign",
      `${base} answered ${status}, but not in the words of ${dialect.name}`,
      { hint: `Check ${dialect.setting}, and the proxies on the way.`, exit: exit.unreachable },
    );
  }
  return new AgentError("http.status", said ?? (response.statusText || `HTTP ${status}`), {
    status,
    retryAfter: retryAfter(response.headers),
    exit: status >= 500 || status === 429 ? exit.unreachable : exit.refused,
  });
}

/** Seconds, or a date, which is of the same clock as the answer's own Date. Nonsense counts as absent. */
export function retryAfter(headers: Headers): Duration | undefined {
  const header = headers.get("retry-after");
  if (header === null) return undefined;
  if (/^\d+$/.test(header.trim())) return seconds(Number(header));
  const at = Date.parse(header);
  const sent = Date.parse(headers.get("date") ?? "");
  if (Number.isNaN(at)) return undefined;
  return Math.max(0, at - (Number.isNaN(sent) ? epochOf(wallNow()) : sent));
}

/** Undefined for a success without a body; null for a body that is empty where one is due, or no JSON. */
const bodyOf = ({ status }: Response, text: string): unknown =>
  text === "" && (status === 201 || status === 204) ? undefined : (parseJson(text) ?? null);

/** Undefined for what is no JSON, and for what is nested too deep to be parsed safely. */
function parseJson(text: string): unknown {
  try {
    return text === "" || isTooDeep(text) ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
