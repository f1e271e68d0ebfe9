// Random tokens that people copy into command lines.
import { randomBytes } from "node:crypto";

/** 43 url-safe characters. Never begins with a dash: on a command line that would read as a flag. */
export function urlSafeToken(): string {
  for (;;) {
    const token = randomBytes(32).toString("base64url");
    if (!token.startsWith("-")) return token;
  }
}
