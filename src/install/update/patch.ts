// Makes a new executable of the old one and a patch, as a stream: a few MB of memory, whatever their sizes.
//
// A patch is the line "noderax-patch 1" and a zstd frame. In it stand the size of the new file and records, each a byte that
// says its kind, and numbers of 7 bits a byte, the lowest first; a signed number n is 2n, or -2n-1 below zero:
//
//   0 literal  length, bytes             new bytes
//   1 changed  length, bytes             old bytes from the cursor on, each plus this one modulo 256
//   2 copy     signed distance, length   old bytes from there on, counted from the cursor
//
// The cursor is the place in the old file behind what was last copied or changed.
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { KIB } from "../../lib/size.ts";

export const PATCH_HEADER = "noderax-patch 1\n";
export const PATCH_RECORD = { literal: 0, changed: 1, copy: 2 } as const;

const BLOCK = 64 * KIB;

export interface PatchedFile {
  readonly size: number;
  /** Of the whole new file, hexadecimal. */
  readonly sha256: string;
}

export interface PatchPaths {
  readonly old: string;
  readonly patch: string;
  /** Must not exist. */
  readonly target: string;
}

/**
 * Writes `target`, to the disk. Its hash is for the caller to compare: a patch of another old file makes a wrong one. Throws
 * "update.patch" for what is no patch, or makes more than `sizeMax` bytes, and for failures of the disk; then `target` is
 * incomplete.
 */
export async function applyPatch(
  paths: PatchPaths,
  sizeMax: number,
  signal: AbortSignal,
): Promise<PatchedFile> {
  const hash = createHash("sha256");
  let old: FileHandle | undefined;
  let patch: FileHandle | undefined;
  let target: FileHandle | undefined;
  let records: AsyncIterator<Uint8Array> | undefined;
  try {
    old = await open(paths.old, "r");
    target = await open(paths.target, "wx", 0o700);
    patch = await open(paths.patch, "r");
    await checkHeader(patch);
    const file = target;
    const frame = Bun.file(paths.patch).slice(PATCH_HEADER.length).stream();
    records = frame.pipeThrough(new DecompressionStream("zstd")).values();
    const size = await patched(new Pull(records), old, sizeMax, async (bytes) => {
      signal.throwIfAborted();
      hash.update(bytes);
      await writeAll(file, bytes);
    });
    await target.sync();
    return { size, sha256: hash.digest("hex") };
  } catch (error) {
    throw new AgentError("update.patch", `the patch cannot be applied: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    await records?.return?.().catch(() => {});
    for (const file of [old, patch, target]) await file?.close();
  }
}

/** Executes the records. Returns the size of the new file. */
async function patched(
  records: Pull,
  old: FileHandle,
  sizeMax: number,
  write: (bytes: Buffer) => Promise<void>,
): Promise<number> {
  const size = await records.number();
  if (size > sizeMax) throw new Error(`it makes a file of ${size} bytes`);
  let [written, cursor] = [0, 0];
  while (written < size) {
    const kind = await records.byte();
    if (kind === PATCH_RECORD.copy) cursor += await records.signed();
    const length = await records.number();
    if (length === 0 || length > size - written) throw new Error("a record is too long");
    for (let left = length; left > 0; left -= Math.min(left, BLOCK)) {
      const now = Math.min(left, BLOCK);
      await write(await part(kind, now));
    }
    written += length;
  }
  await records.end();
  return size;

  async function part(kind: number, length: number): Promise<Buffer> {
    if (kind === PATCH_RECORD.literal) return records.take(length);
    if (kind !== PATCH_RECORD.copy && kind !== PATCH_RECORD.changed) throw new Error("a record is unknown");
    const bytes = Buffer.alloc(length);
    const { bytesRead } = cursor < 0 ? { bytesRead: 0 } : await old.read(bytes, 0, length, cursor);
    if (bytesRead !== length) throw new Error("it was made for another file");
    cursor += length;
    if (kind === PATCH_RECORD.copy) return bytes;
    const changes = await records.take(length);
    for (let at = 0; at < length; at++) bytes[at] = ((bytes[at] ?? 0) + (changes[at] ?? 0)) & 0xff;
    return bytes;
  }
}

async function checkHeader(patch: FileHandle): Promise<void> {
  const header = Buffer.alloc(PATCH_HEADER.length);
  await patch.read(header, 0, header.length, 0);
  if (header.toString("latin1") !== PATCH_HEADER) throw new Error("it is not a patch");
}

async function writeAll(file: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at)).bytesWritten;
}

/** Takes bytes and numbers from a stream, which it reads only as far as it is asked. */
class Pull {
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(readonly source: AsyncIterator<Uint8Array>) {}

  async byte(): Promise<number> {
    while (this.#at === this.#chunk.length) if (!(await this.#next())) throw new Error("it is cut off");
    return this.#chunk[this.#at++] ?? 0;
  }

  async number(): Promise<number> {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 42; scale *= 128) {
      const byte = await this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new Error("a number is too long");
  }

  async signed(): Promise<number> {
    const value = await this.number();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  async take(length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    for (let filled = 0; filled < length;) {
      if (this.#at === this.#chunk.length && !(await this.#next())) throw new Error("it is cut off");
      const copied = this.#chunk.copy(bytes, filled, this.#at);
      this.#at += copied;
      filled += copied;
    }
    return bytes;
  }

  /** Throws when something follows. */
  async end(): Promise<void> {
    if (this.#at < this.#chunk.length || (await this.#next())) throw new Error("it has more than its file");
  }

  async #next(): Promise<boolean> {
    for (;;) {
      const { done, value } = await this.source.next();
      if (done === true) return false;
      this.#chunk = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      this.#at = 0;
      if (this.#chunk.length > 0) return true;
    }
  }
}
