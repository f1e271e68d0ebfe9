// Recognizes the keys that detach from a terminal, as in ssh: Enter, then ~ and a full stop. ~~ types one tilde.

const [NEWLINE, RETURN, TILDE, STOP] = [0x0a, 0x0d, 0x7e, 0x2e];

export interface Keystrokes {
  /** The bytes for the shell. */
  readonly bytes: Uint8Array;
  readonly detach: boolean;
}

/** Returns a reader of keystrokes in any pieces. A tilde at the start of a line waits for the key after it. */
export function detachKeys(): (keys: Uint8Array) => Keystrokes {
  let atLineStart = true;
  let tilde = false;
  return (keys) => {
    const bytes: number[] = [];
    for (const key of keys) {
      if (tilde && key === STOP) return { bytes: Uint8Array.from(bytes), detach: true };
      if (!tilde && atLineStart && key === TILDE) {
        tilde = true;
        continue;
      }
      if (tilde && key !== TILDE) bytes.push(TILDE);
      bytes.push(key);
      tilde = false;
      atLineStart = key === NEWLINE || key === RETURN;
    }
    return { bytes: Uint8Array.from(bytes), detach: false };
  };
}
