// Reads one JSON object strictly and records the position of everything, for messages with line and column
// and for edits that leave all other bytes unchanged.
import { SyntaxProblem } from "./syntax-problem.ts";
import type { RawValue } from "./value.ts";

export interface Member {
  readonly key: string;
  readonly value: RawValue;
  /** Offsets into the text. */
  readonly keyStart: number;
  readonly valueStart: number;
  readonly valueEnd: number;
}

export interface JsonObject {
  readonly members: readonly Member[];
  /** Offset of the opening and of the closing brace. */
  readonly start: number;
  readonly end: number;
}

// Levels: more than any configuration has, far fewer than the stack allows.
const MAX_DEPTH = 64;

const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y; // oxlint-disable-line no-control-regex
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
const SPACE = /[ \t\r\n]*/y;

/** Reads a text that must be one object. Keeps a key as often as the text has it. */
export function scanJson(text: string): JsonObject {
  let at = text.startsWith("\ufeff") ? 1 : 0;
  skip();
  const object = scanObject(0);
  skip();
  if (at < text.length) fail("nothing may follow the closing brace");
  return object;

  function scanObject(depth: number): JsonObject {
    const start = at;
    expect("{");
    const members: Member[] = [];
    scanItems("}", () => {
      const keyStart = at;
      const key: string = JSON.parse(take(STRING) ?? fail("expected a key in double quotes"));
      skip();
      expect(":");
      skip();
      const valueStart = at;
      const value = scanValue(depth + 1);
      members.push({ key, value, keyStart, valueStart, valueEnd: at });
    });
    return { members, start, end: at - 1 };
  }

  function scanArray(depth: number): RawValue[] {
    expect("[");
    const items: RawValue[] = [];
    scanItems("]", () => items.push(scanValue(depth + 1)));
    return items;
  }

  function scanItems(close: string, item: () => void): void {
    skip();
    if (text[at] === close) return void at++;
    for (;;) {
      item();
      skip();
      if (text[at] === close) return void at++;
      if (text[at] !== ",") fail(`expected "," or "${close}"`);
      at++;
      skip();
      if (text[at] === close) fail(`a comma before "${close}"`);
    }
  }

  function scanValue(depth: number): RawValue {
    if (depth > MAX_DEPTH) fail(`nested deeper than ${MAX_DEPTH} levels`);
    if (text[at] === "{") {
      scanObject(depth);
      return { nested: true };
    }
    if (text[at] === "[") return scanArray(depth);
    // Keeps the text of a number: an id of 20 digits must not lose any.
    return take(NUMBER) ?? JSON.parse(take(STRING) ?? take(WORD) ?? fail("expected a value"));
  }

  function take(pattern: RegExp): string | undefined {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    at += found?.length ?? 0;
    return found;
  }

  function skip(): void {
    take(SPACE);
  }

  function expect(character: string): void {
    if (text[at] !== character) fail(`expected "${character}"`);
    at++;
  }

  function fail(problem: string): never {
    throw new SyntaxProblem(
      at < text.length ? problem : `${problem}, but the file ends here`,
      position(text, at),
    );
  }
}

/** Returns line and column of an offset, both from 1. */
export function position(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  const lastBreak = before.lastIndexOf("\n");
  return { line: countLines(before), column: offset - lastBreak };
}

function countLines(text: string): number {
  let lines = 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}
