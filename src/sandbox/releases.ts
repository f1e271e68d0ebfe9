// Serves a release place from a directory, under /releases/, with ranges.
import { join, normalize } from "node:path";

const PREFIX = "/releases/";

export const isRelease = (pathname: string): boolean => pathname.startsWith(PREFIX);

/** Answers a GET or HEAD of a file below `directory`: 404 for all else. */
export async function answerRelease(directory: string | undefined, request: Request): Promise<Response> {
  const missing = new Response("there is no such file\n", { status: 404 });
  if (directory === undefined || !["GET", "HEAD"].includes(request.method)) return missing;
  const name = normalize(decodeURI(new URL(request.url).pathname.slice(PREFIX.length)));
  if (!/^[\w.+-]+(\/[\w.+-]+)*$/.test(name) || name.split("/").includes("..")) return missing;
  const file = Bun.file(join(directory, name));
  if (!(await file.exists())) return missing;
  const [, from] = /^bytes=(\d{1,15})-$/.exec(request.headers.get("range") ?? "") ?? [];
  if (from === undefined) return new Response(file, { headers: { "accept-ranges": "bytes" } });
  const begin = Number(from);
  if (begin >= file.size)
    return new Response(null, { status: 416, headers: { "content-range": `bytes */${file.size}` } });
  return new Response(file.slice(begin), {
    status: 206,
    headers: { "content-range": `bytes ${begin}-${file.size - 1}/${file.size}` },
  });
}
