// Responses: JSON, compressed when the client accepts it, and a cut connection.
import { timingSafeEqual } from "node:crypto";
import { gzipSync } from "node:zlib";

/** Smaller answers are not worth compressing. */
const COMPRESS_FROM = 1_024;
/** Idle connections are closed after this; a pooled one that is used later resets. */
export const KEEP_ALIVE_SECONDS = 5;

export function jsonAnswer(
  request: Request,
  status: number,
  body: unknown,
  extra: Readonly<Record<string, string>> = {},
): Response {
  const headers = new Headers({
    "Content-Type": "application/json; charset=utf-8",
    "Keep-Alive": `timeout=${KEEP_ALIVE_SECONDS}`,
    ...extra,
  });
  const text = JSON.stringify(body);
  const offered = /\bgzip\b/i.test(request.headers.get("accept-encoding") ?? "");
  if (!offered || text.length < COMPRESS_FROM) return new Response(text, { status, headers });
  headers.set("Content-Encoding", "gzip");
  headers.set("Vary", "Accept-Encoding");
  return new Response(gzipSync(text), { status, headers });
}

/**
 * Cuts the connection: a stream that fails before its first byte makes Bun reset the socket without a status line.
 * Without a reason in `error()`, Bun prints nothing about it.
 */
export function cutConnection(): Response {
  return new Response(
    new ReadableStream({
      start(controller) {
        controller.error();
      },
    }),
  );
}

/** Equal in constant time, whatever the lengths. */
export function sameSecret(given: string, expected: string): boolean {
  const digest = (text: string): Uint8Array => new Bun.CryptoHasher("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}
