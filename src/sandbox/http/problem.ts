// Errors as RFC 9457 problem documents, as the Caravanserai server answers them.
import { STATUS_CODES } from "node:http";
import { jsonAnswer } from "./answer.ts";

/** `type` is "about:blank": the status is the kind of problem. */
export function problemAnswer(
  request: Request,
  status: number,
  detail: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const title = STATUS_CODES[status] ?? "Error";
  return jsonAnswer(
    request,
    status,
    { type: "about:blank", title, status, detail },
    { "Content-Type": "application/problem+json", ...headers },
  );
}
