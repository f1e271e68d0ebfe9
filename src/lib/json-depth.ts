// Finds JSON text that is nested too deep to be parsed: the parser's stack and memory grow with every level.

/** Levels of arrays and objects. What a control plane sends has fewer than ten, a payload of an operator some more. */
const DEPTH_MAX = 1_000;

/** Looks at brackets outside of strings alone, without parsing; stops at the first level too many. */
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

/** Index of the quote that ends the string which begins at `start`; the length of the text when none does. */
function endOfString(json: string, start: number): number {
  for (let at = start + 1; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === 0x5c) at++;
    else if (code === 0x22) return at;
  }
  return json.length;
}
