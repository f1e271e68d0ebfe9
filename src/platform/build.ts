// Version and commit, defined by the build.
import { join } from "node:path";

declare const BUILD_VERSION: string | undefined;
declare const BUILD_COMMIT: string | undefined;
declare const BUILD_DATE: string | undefined;
declare const BUILD_ROOT_KEYS: string | undefined;

/** "0.0.0-dev" when run from source. */
export const version: string = typeof BUILD_VERSION === "string" ? BUILD_VERSION : "0.0.0-dev";
export const commit: string = typeof BUILD_COMMIT === "string" ? BUILD_COMMIT : "unknown";
export const buildDate: string = typeof BUILD_DATE === "string" ? BUILD_DATE : "unknown";
/** Raw Ed25519 keys in base64 that vouch for releases; none in a development build, which can verify no release. */
export const rootKeys: readonly string[] =
  typeof BUILD_ROOT_KEYS === "string" ? BUILD_ROOT_KEYS.split(",").filter(Boolean) : [];
/** True in the compiled executable. */
export const compiled: boolean = typeof BUILD_VERSION === "string";

/** The command line that starts this program again, as the executable or from its source. */
export const ownCommand = (): string[] =>
  compiled ? [process.execPath] : [process.execPath, join(import.meta.dir, "../main.ts")];
