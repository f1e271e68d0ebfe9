// The code that the system, the runtime or SQLite gave an error.
import { messageOf } from "./agent-error.ts";

/** "ENOENT", "ConnectionRefused", "SQLITE_BUSY"; the empty text for an error without a code, and for what is no error. */
export function errnoOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

/** What the system says, without its code and the call: "EROFS: read-only file system, access '/x'" is "read-only file system". */
export const errnoText = (error: unknown): string =>
  messageOf(error).replace(/^E[A-Z]+: (.+), \w+( '.*')?$/, "$1");
