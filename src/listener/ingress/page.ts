// The ingress's own error pages: they say what a visitor can do, and nothing about the containers.
import { STATUS_CODES, type ServerResponse } from "node:http";

export type IngressRefusal =
  | "unknown"
  | "away"
  | "late"
  | "broken"
  | "busy"
  | "method"
  | "expectation"
  | "large";

const PAGES: Record<IngressRefusal, { readonly status: number; readonly text: string }> = {
  unknown: { status: 502, text: "Nothing is served here under this name." },
  away: { status: 502, text: "What is served here does not answer at the moment. Try again in a while." },
  late: { status: 502, text: "What is served here took too long to answer. Try again in a while." },
  broken: { status: 400, text: "This request cannot be understood." },
  busy: { status: 503, text: "Too many connections at the moment. Try again in a while." },
  method: { status: 405, text: "Only requests for what is served here are answered." },
  expectation: { status: 417, text: "This expectation cannot be met." },
  large: { status: 431, text: "The head of this request is too large." },
};

const STYLE =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:32em;margin:20vh auto;padding:0 1em;color:#333}";

function pageOf(refusal: IngressRefusal): {
  status: number;
  reason: string;
  headers: string[];
  body: string;
} {
  const { status, text } = PAGES[refusal];
  const reason = STATUS_CODES[status] ?? "";
  const title = `${status} ${reason}`;
  const body =
    `<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n` +
    `<title>${title}</title>\n<style>${STYLE}</style>\n<h1>${title}</h1>\n<p>${text}</p>\n</html>\n`;
  const headers = [
    ["Content-Type", "text/html; charset=utf-8"],
    ["Content-Length", `${Buffer.byteLength(body)}`],
    ["Cache-Control", "no-store"],
    ["X-Content-Type-Options", "nosniff"],
    ["Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"],
    ...(refusal === "method" ? [["Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]] : []),
  ].flat();
  return { status, reason, headers, body };
}

/** Answers a request with an error page. Closes the connection where the start of the next request is uncertain. */
export function refuse(response: ServerResponse, refusal: IngressRefusal): void {
  const { status, reason, headers, body } = pageOf(refusal);
  const isLast = status < 500 || refusal === "busy" || response.req.headers.expect !== undefined;
  const last = isLast ? ["Connection", "close"] : [];
  response.writeHead(status, reason, [...headers, ...last]);
  response.end(body);
}

/**
 * Ends an incomplete answer so that the client notices. For HTTP/1.0, which has no chunks, only a reset shows that: a closed
 * connection is the normal end of an answer.
 */
export function cutOff(response: ServerResponse): void {
  if (response.req.httpVersion === "1.0") response.req.socket.resetAndDestroy();
  else response.destroy();
}

/** Returns the error page as raw HTTP, for a connection from which no request could be parsed. */
export function rawRefusal(refusal: IngressRefusal): string {
  const { status, reason, headers, body } = pageOf(refusal);
  const lines = [`HTTP/1.1 ${status} ${reason}`];
  for (let at = 0; at < headers.length; at += 2) lines.push(`${headers[at]}: ${headers[at + 1]}`);
  return [...lines, "Connection: close", "", body].join("\r\n");
}
