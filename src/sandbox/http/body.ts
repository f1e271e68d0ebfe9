// Reads a request's JSON body as the control plane's framework does, peculiarities included.
import { gunzipSync } from "node:zlib";
import { MIB } from "../../lib/size.ts";
import { badRequest, internalError } from "./api-error.ts";

/** Larger bodies are answered with 500, not 413. */
const BODY_LIMIT = 50 * MIB;

/**
 * The parsed body; `{}` when there is none, or when it is not declared as JSON. Throws 400 for malformed JSON and
 * for anything but an object or array at the top, 500 above the size limit.
 */
export async function readJsonBody(request: Request): Promise<unknown> {
  if (request.method === "GET" || request.method === "HEAD") return {};
  if (Number(request.headers.get("content-length") ?? 0) > BODY_LIMIT) throw internalError();
  const bytes = inflate(Buffer.from(await request.arrayBuffer()), request.headers.get("content-encoding"));
  if (bytes.length > BODY_LIMIT) throw internalError();
  if (bytes.length === 0 || !/^application\/json\b/i.test(request.headers.get("content-type") ?? ""))
    return {};
  return parse(bytes.toString("utf8"));
}

function inflate(bytes: Buffer, encoding: string | null): Buffer {
  if (encoding === null || encoding === "identity") return bytes;
  if (encoding !== "gzip") throw badRequest(`unsupported content encoding "${encoding}"`);
  try {
    return gunzipSync(bytes, { maxOutputLength: BODY_LIMIT + 1 });
  } catch (error) {
    if (error instanceof RangeError) throw internalError();
    throw badRequest("incorrect header check");
  }
}

function parse(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badRequest(error instanceof Error ? error.message : "Unexpected token in JSON");
  }
  if (typeof value !== "object" || value === null) throw badRequest("Unexpected token in JSON at position 0");
  return value;
}
