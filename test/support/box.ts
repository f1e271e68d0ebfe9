// A container that speaks in every way a tunnel or a route must carry: one image of busybox, all its ports beside each other.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ProjectHandle, ProjectNode, Service } from "./project-node.ts";

export const BOX = {
  /** HTTP: `/` is the value of GREETING, `/cgi-bin/environment` what a CGI program was told of the request. */
  http: 80,
  /** Every byte back, until the client ends its side. */
  echo: 7,
  /** Speaks first, as MySQL does, and answers each line. */
  banner: 3306,
  /** Zeros without an end. */
  flood: 19,
  /** Takes everything until the client ends its side, and answers with its SHA-256. */
  sink: 9,
  /** `/blob`, which is random, ROUNDS times, each behind a line with its number; and then the end. */
  stream: 1700,
  /** A WebSocket that says back messages of up to 125 bytes. */
  websocket: 8080,
} as const;

/** The size of `/blob`. */
export const BLOB = 64 * 65_536;

export async function boxService(
  node: ProjectNode,
  { name = "box", env = {} }: { name?: string; env?: Readonly<Record<string, string>> } = {},
): Promise<Service> {
  const ports = Object.entries(BOX).map(([variable, port]) => `${variable}=${port}`);
  const script = readFileSync(join(import.meta.dir, "box.sh"), "utf8");
  const image = await node.image(`${ports.join("\n")}\n${script}`);
  return { name, image, env: { GREETING: "hello", ROUNDS: "1", ...env } };
}

/** Resolves when it is Running, and everything in it listens. */
export async function boxRuns(project: ProjectHandle, service = "box"): Promise<ProjectHandle> {
  await project.becomes("Running");
  await project.until("everything in the box listens", async () => {
    const table = await project.exec(service, "busybox", "netstat", "-ltn").catch(() => "");
    return Object.values(BOX).every((port) => table.includes(`:${port} `));
  });
  return project;
}
