// Codes of errors, shell words and sizes for messages.
import { expect, test } from "bun:test";
import { errnoOf, errnoText } from "../../../src/lib/errno.ts";
import { humanSize } from "../../../src/lib/size.ts";
import { quote, quoteIfNeeded } from "../../../src/lib/text.ts";

test.each([
  [Object.assign(new Error("x"), { code: "ENOENT" }), "ENOENT"],
  [Object.assign(new Error("x"), { code: 17 }), ""],
  [new Error("x"), ""],
  [{ code: "ENOENT" }, ""],
  [undefined, ""],
])("the code of %p is %j", (error, code) => expect(errnoOf(error)).toBe(code));

test("a word is quoted for people only where a shell would read it otherwise", () => {
  expect(quoteIfNeeded("/opt/a-b_c.d")).toBe("/opt/a-b_c.d");
  expect(["", "a b", "it's", "$HOME"].map(quoteIfNeeded)).toEqual(["''", "'a b'", `'it'\\''s'`, "'$HOME'"]);
  expect(quote("plain")).toBe("'plain'");
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1_000, "1.0 kB"],
  [999_949, "999.9 kB"],
  [999_950, "1.0 MB"],
  [5e12, "5000.0 GB"],
])("%d bytes are %s", (bytes, text) => expect(humanSize(bytes)).toBe(text));

test("what the system says is shown without its code and the call", () => {
  expect(errnoText(new Error("EROFS: read-only file system, access '/x y'"))).toBe("read-only file system");
  expect(errnoText(new Error("EISDIR: illegal operation on a directory, read"))).toBe(
    "illegal operation on a directory",
  );
  expect(errnoText(new Error("larger than 1 MiB"))).toBe("larger than 1 MiB");
});
