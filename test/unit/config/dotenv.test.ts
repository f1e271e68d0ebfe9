// The .env reader: what common files mean, and that none makes it fail.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { parseDotenv } from "../../../src/config/dotenv.ts";
import { cpuTime } from "../../support/cpu-time.ts";

const pairs = (text: string): object =>
  Object.fromEntries(parseDotenv(text).map(({ name, value }) => [name, value]));

test("plain, exported, quoted and commented pairs are read", () => {
  expect(
    pairs(
      [
        "A=1",
        "export B = two words   # comment",
        "C='it # stays'",
        'D="line\\nbreak \\"quoted\\"" # comment',
        "E=",
        "F=a#b",
        "# G=1",
        "not a pair",
        "H='unclosed",
        "I=# only a comment",
      ].join("\n"),
    ),
  ).toEqual({
    A: "1",
    B: "two words",
    C: "it # stays",
    D: 'line\nbreak "quoted"',
    E: "",
    F: "a#b",
    H: "'unclosed",
    I: "",
  });
});

test("lines are counted from one, also with CRLF", () => {
  expect(parseDotenv("\r\n\r\nA=1\r\n")).toEqual([{ name: "A", value: "1", line: 3 }]);
});

test("no text makes it throw", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => parseDotenv(text).every(({ line }) => line > 0)),
  );
});

test("a value between single quotes comes back as it is", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[^'\r\n\ufeff]*$/), (value) => {
      expect(parseDotenv(`A='${value}'`)).toEqual([{ name: "A", value, line: 1 }]);
    }),
  );
});

test("a long line of blanks or backslashes is read at once", () => {
  const used = cpuTime();
  parseDotenv(`A="${"\\".repeat(300_001)}\nB=${" ".repeat(100_000)}x#${" ".repeat(100_000)}`);
  expect(used()).toBeLessThan(1_000);
});
