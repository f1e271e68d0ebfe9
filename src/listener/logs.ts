// Streams a container's log as an answer: read from Docker as the client reads, closed when the client disconnects.
import { type AbortScope, abortScope } from "../lib/abort-scope.ts";
import { epochOf, wallNow } from "../lib/clock.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import type { Duration } from "../lib/duration.ts";
import type { Containers } from "./containers.ts";
import { parseLogQuery } from "./logs-query.ts";
import { PLAIN_ANSWER, problem } from "./problem.ts";

export interface LogStreams {
  /** Resolves with a `text/plain` stream, or a problem document: 400, 404, 409 (nothing to follow), 502, 503. */
  open(request: Request, target: LogTarget): Promise<Response>;
  count(): number;
}

export interface LogTarget {
  readonly project: string;
  readonly service: string;
  readonly query: URLSearchParams;
}

export interface LogStreamsOptions {
  readonly containers: Containers;
  readonly limit: number;
  /** A client that has not read the waiting output for this long is disconnected. */
  readonly stalledLimit: Duration;
}

const ENDED = ["created", "exited", "dead", "removing"];

/** Creates the set of log streams. All end when `signal` aborts. */
export function createLogStreams(options: LogStreamsOptions, signal: AbortSignal): LogStreams {
  const { containers, limit, stalledLimit } = options;
  let open = 0;

  async function start(request: Request, { project, service, query }: LogTarget): Promise<Response> {
    const asked = parseLogQuery(query, epochOf(wallNow()));
    if ("problem" in asked) return problem(400, "Bad Request", asked.problem);
    if (open >= limit)
      return problem(503, "Service Unavailable", `${limit} logs are being read, more are not allowed`);
    const end = abortScope([signal, request.signal]);
    const ended = end.signal;
    if (ended.aborted) return problem(503, "Service Unavailable", "the agent stops");
    open++;
    // Exactly once, whichever end comes first.
    ended.addEventListener("abort", () => open--, { once: true });
    const refuse = (refusal: Response): Response => {
      end.abort();
      return refusal;
    };
    try {
      const found = await containers.findService(project, service, ended);
      if (found === undefined)
        return refuse(problem(404, "Not Found", `no container of this node serves ${project}/${service}`));
      if (asked.follow && ENDED.includes(found.state))
        return refuse(
          problem(409, "Conflict", `${project}/${service} does not run (${found.state}): nothing to follow`),
        );
      const log = await containers.logs(found.id, asked, ended);
      return new Response(streamOf(log, end, stalledLimit), {
        headers: {
          ...PLAIN_ANSWER,
          "content-type": "text/plain; charset=utf-8",
          // The timeout of this connection was removed, so it must not carry another request.
          connection: "close",
        },
      });
    } catch (error) {
      return refuse(failed(error, signal.aborted));
    }
  }

  return { open: start, count: () => open };
}

function failed(error: unknown, isStopping: boolean): Response {
  if (isStopping) return problem(503, "Service Unavailable", "the agent stops");
  if (!(error instanceof AgentError)) throw error;
  if (error.code === "docker.gone") return problem(404, "Not Found", "the container is gone");
  const isOdd = error.code === "docker.refused";
  // For example a logging driver that cannot be read.
  if (isOdd) return problem(502, "Bad Gateway", `Docker refuses: ${messageOf(error)}`);
  return problem(503, "Service Unavailable", messageOf(error));
}

/** Does not read ahead: what the client has not read stays with Docker. */
function streamOf(
  log: AsyncIterable<Uint8Array>,
  end: AbortScope,
  stalledLimit: Duration,
): ReadableStream<Uint8Array> {
  const ended = end.signal;
  const pieces = log[Symbol.asyncIterator]();
  let stalled: NodeJS.Timeout | undefined;
  ended.addEventListener(
    "abort",
    () => {
      clearTimeout(stalled);
      void pieces.return?.().catch(() => {});
    },
    { once: true },
  );
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(stalled);
        try {
          const { done, value } = await pieces.next();
          if (ended.aborted) return controller.error();
          if (done !== true) {
            stalled = setTimeout(() => {
              end.abort();
              controller.error();
            }, stalledLimit);
            return controller.enqueue(value);
          }
          controller.close();
        } catch {
          // Docker or the client disconnected. Without the last chunk the client sees that the answer is incomplete.
          controller.error();
        }
        end.abort();
      },
      cancel: () => end.abort(),
    },
    { highWaterMark: 0 },
  );
}
