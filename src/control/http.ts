// Sends HTTP requests to a control plane: timeouts, abort, trusted authorities, correlation ids, errors with
// codes.
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

/** Characters. Longer answers are refused, so that a server cannot fill our memory. */
const ANSWER_MAX = 32 * MIB;

export interface HttpCall<Schema extends v.GenericSchema> {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Below the base URL, with a leading slash. */
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
  /** Schema of the body of a 2xx answer; unknown fields are ignored. `NO_BODY` accepts only an empty body. */
  readonly answer: Schema;
  readonly timeout: Duration;
  /** Whether it may be sent twice: then a lost keep-alive connection is retried once, at once. */
  readonly idempotent: boolean;
  /** Use a new connection: for long polls, since the other side may just be closing a pooled one. */
  readonly fresh?: boolean;
}

/**
 * Sends a request and resolves with the parsed answer. Throws "net.*", "tls.*" and "aborted" (see
 * NetworkCode), "http.status" with `status` and the message of the server, "http.redirect", "http.foreign"
 * for a refusal without the error body of the server, "http.answer" for a body that does not match the
 * schema.
 */
export interface Http {
  <Schema extends v.GenericSchema>(
    call: HttpCall<Schema>,
    signal: AbortSignal,
  ): Promise<v.InferOutput<Schema>>;
  readonly serverClock: ServerClock;
}

/** Differences between the control planes: name, setting of the address, form of an error body. */
export interface Dialect {
  /** "a Noderax API" */
  readonly name: string;
  readonly setting: "api_url" | "server_url";
  /** Returns the message of an error body of this server; undefined for any other body. */
  message(body: unknown, status: number): string | undefined;
}

/** Schema of the answer to a call whose success is a 204; a page with status 200 does not match. */
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
  /** Returns the PEM of all trusted authorities; called once, before the first https request. */
  readonly authorities: () => string;
}

/** Creates the client of one control plane, with its base URL, trusted authorities and server clock. */
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
    // One timeout for head and body: a server that sends a byte a second must not hold us forever.
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

/** Statuses that mean the same from a proxy as from the server: limits and timeouts. */
const SAME_FROM_PROXY = new Set([408, 413, 425, 429]);

/**
 * Makes the error for a status of 400 and above. Without the error body of the server it is "http.foreign":
 * the 404 of a proxy or the 403 of a captive portal must not end a task or remove a container.
 */
function statusError(response: Response, text: string, base: string, dialect: Dialect): AgentError {
  const { status } = response;
  const said = dialect.message(parseJson(text), status);
  if (said === undefined && status < 500 && !SAME_FROM_PROXY.has(status)) {
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

/**
 * Parses Retry-After: seconds, or a date, compared with the Date of the answer. Undefined for anything else.
 */
export function retryAfter(headers: Headers): Duration | undefined {
  const header = headers.get("retry-after");
  if (header === null) return undefined;
  if (/^\d+$/.test(header.trim())) return seconds(Number(header));
  const at = Date.parse(header);
  const sent = Date.parse(headers.get("date") ?? "");
  if (Number.isNaN(at)) return undefined;
  return Math.max(0, at - (Number.isNaN(sent) ? epochOf(wallNow()) : sent));
}

/**
 * Undefined for a 201 or 204 without a body; null for an empty body of any other status, and for anything but
 * JSON.
 */
const bodyOf = ({ status }: Response, text: string): unknown =>
  text === "" && (status === 201 || status === 204) ? undefined : (parseJson(text) ?? null);

/** Undefined for anything but JSON, and for JSON nested too deep to be parsed safely. */
function parseJson(text: string): unknown {
  try {
    return text === "" || isTooDeep(text) ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
