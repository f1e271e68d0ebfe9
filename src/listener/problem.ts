// Builds the error answers of the agent's HTTP server: problem documents (RFC 9457).

/** Headers of every answer: none is a page, none may be cached. */
export const PLAIN_ANSWER = { "x-content-type-options": "nosniff", "cache-control": "no-store" } as const;

/** Builds a problem document. Its `type` is "about:blank": the status alone says the kind of problem. */
export function problem(
  status: number,
  title: string,
  detail: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const body = JSON.stringify({ type: "about:blank", title, status, detail });
  const type = { "content-type": "application/problem+json" };
  return new Response(body, { status, headers: { ...PLAIN_ANSWER, ...type, ...headers } });
}
