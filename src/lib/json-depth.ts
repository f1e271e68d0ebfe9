// Finds JSON text that is nested too deep to be parsed: stack and memory of the parser grow with every level.

/**
 * Levels of arrays and objects. Messages of a control plane have fewer than ten; payloads of an operator may
 * have more.
 */
const DEPTH_MAX = 1_000;

/**
 * Returns whether `json` has more than `max` levels. Counts brackets outside of strings; does not check the
 * syntax.
 */
export function isTooDeep(json: string, max = DEPTH_MAX): boolean {
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === 0x22) at = endOfString(json, at);
    else if (code === 0x5b || code === 0x7b) {
      if (++depth > max) return true;
    } else if (code === 0x5d || code === 0x7d) depth--;
  }
  return false;
}

/** Returns the index of the closing quote of the string that opens at `start`, or the length of the text. */
function endOfString(json: string, start: number): number {
  for (let at = start + 1; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === 0x5c) at++;
    else if (code === 0x22) return at;
  }
  return json.length;
}
