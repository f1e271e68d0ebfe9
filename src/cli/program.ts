// How this program was called, so that what we tell people to type next works where they are.
import { relative } from "node:path";
import { compiled } from "../platform/build.ts";

/** "noderax-agent" when found on the PATH, "dist/noderax-agent" when called by its path, from source the whole call. */
export function programName(): string {
  if (!compiled) return `${process.execPath} ${relative(process.cwd(), process.argv[1] ?? "")}`;
  if (!process.argv0.includes("/")) return process.argv0;
  const path = relative(process.cwd(), process.execPath);
  return path.startsWith("..") ? process.execPath : path.includes("/") ? path : `./${path}`;
}
