// Decodes keystrokes from the wire.
import { INPUT_PAYLOAD_MAX } from "../protocol/noderax/terminal.ts";

/** Decodes standard base64, padded or not. Undefined for anything else, and above the limit of the contract. */
export function decodeInput(payload: string): Uint8Array | undefined {
  if (payload.length > INPUT_PAYLOAD_MAX || !/^[A-Za-z0-9+/]*={0,2}$/.test(payload)) return undefined;
  const digits = payload.replace(/=+$/, "");
  if (digits.length % 4 === 1) return undefined;
  if (payload.length !== digits.length && payload.length % 4 !== 0) return undefined;
  return Buffer.from(digits, "base64");
}
