// Opens the C library for calls that Bun has no function for. They need the JIT.
import type { FFIFunction, Library } from "bun:ffi";

/**
 * Undefined where the runtime cannot make native calls (no JIT), or the C library is neither glibc nor musl.
 */
export async function openLibc<const Functions extends Record<string, FFIFunction>>(
  functions: Functions,
): Promise<Library<Functions>["symbols"] | undefined> {
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  for (const library of ["libc.so.6", `libc.musl-${machine}.so.1`]) {
    try {
      const { dlopen } = await import("bun:ffi");
      return dlopen(library, functions).symbols;
    } catch {
      // Another C library, or no native calls at all.
    }
  }
  return undefined;
}
