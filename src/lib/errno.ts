// The code that the system, the runtime or SQLite gave an error.

/** "ENOENT", "ConnectionRefused", "SQLITE_BUSY"; the empty text for an error without a code, and for what is no error. */
export function errnoOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}
