// Errors of the agent's own HTTP server: problem documents of RFC 9457.

/** What goes with every answer: none is a page, and none is true for long. */
export const PLAIN_ANSWER = { "x-content-type-options": "nosniff", "cache-control": "no-store" } as const;

/** `type` is "about:blank": the status says all there is to know about the kind of problem. */
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
