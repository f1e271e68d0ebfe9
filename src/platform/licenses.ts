// The licences of everything in the executable, defined by the build. Imported only where they are printed.

declare const BUILD_LICENSES: string | undefined;

/** The text, of some hundred kilobytes; undefined when run from source. */
export const licenses = (): string | undefined =>
  typeof BUILD_LICENSES === "string"
    ? Bun.zstdDecompressSync(Buffer.from(BUILD_LICENSES, "base64")).toString()
    : undefined;
