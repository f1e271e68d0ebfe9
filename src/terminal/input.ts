// What a person typed, as it comes over the wire.
import { INPUT_PAYLOAD_MAX } from "../protocol/noderax/terminal.ts";

/** The bytes of standard base64, padded or not; undefined for anything else, and for more than the contract allows. */
export function decodeInput(payload: string): Uint8Array | undefined {
  if (payload.length > INPUT_PAYLOAD_MAX || !/^[A-Za-z0-9+/]*={0,2}$/.test(payload)) return undefined;
  const digits = payload.replace(/=+$/, "");
  if (digits.length % 4 === 1) return undefined;
  if (payload.length !== digits.length && payload.length % 4 !== 0) return undefined;
  return Buffer.from(digits, "base64");
}
