// Names of packages: whatever is accepted is one package for every manager, and nothing but text for every program.
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { problemOfName, searchWords } from "../../src/packages/names.ts";

describe("accepted names", () => {
  test.each([
    "nginx",
    "g++",
    "libstdc++6",
    "libc6:i386",
    "python3.11",
    "linux-image-6.1.0-18-amd64",
    "NetworkManager",
    "perl_module",
    "0ad",
    "nginx=1.22.1-9+deb12u1",
    "libc6:amd64=2:2.36-9~deb12u7",
  ])("%s", (name) => {
    expect(problemOfName(name, true)).toBeUndefined();
  });
});

describe("refused names", () => {
  test.each([
    ["", "empty"],
    ["-y", "flag"],
    ["--root=/tmp/x", "flag"],
    ["foo-", "remove"],
    ["foo-:amd64", "remove"],
    ["foo-=1", "remove"],
    ["foo\nbar", "characters"],
    ["foo\n", "characters"],
    ["foo bar", "characters"],
    ["foo;reboot", "characters"],
    ["$(reboot)", "characters"],
    ["`reboot`", "characters"],
    ["foo|bar", "characters"],
    ["foo\0", "characters"],
    ["./foo.deb", "characters"],
    ["/tmp/foo.rpm", "characters"],
    ["foo.rpm", "file"],
    ["foo.deb", "file"],
    ["../foo", "characters"],
    ["@development", "characters"],
    ["task^", "characters"],
    ["foo*", "characters"],
    ["fo?", "characters"],
    ["[a-z]", "characters"],
    ["!foo", "characters"],
    ["foo/stable", "characters"],
    ["foo>1", "characters"],
    ["foo~1", "characters"],
    ["föö", "characters"],
    ["foo:", "architecture"],
    ["foo:a:b", "architecture"],
    ["foo:-x", "architecture"],
    ["foo=", "version"],
    ["foo=1=2", "version"],
    ["foo=$(x)", "version"],
    ["foo=-1", "version"],
    ["x".repeat(256), "longer"],
  ])("%j", (name, why) => {
    expect(problemOfName(name, true)).toContain(why);
  });

  test("a version where something is removed", () => {
    expect(problemOfName("nginx=1.0", false)).toContain("only an installation may");
  });
});

test("no accepted name has a character that a shell, a flag or a pattern is made of, and none ends on a dash", () => {
  const tricky = fc.string({
    unit: fc.constantFrom(...Array.from("abZ09+-._:=~^/*?[]!@$`;|&<>(){}'\"\\ \n\r\t\0é")),
    maxLength: 20,
  });
  fc.assert(
    fc.property(fc.oneof(tricky, fc.string({ unit: "binary" })), fc.boolean(), (name, mayPin) => {
      if (problemOfName(name, mayPin) !== undefined) return;
      expect(name).toMatch(/^[A-Za-z0-9][A-Za-z0-9+._:=~^-]*$/);
      expect(name.split(/[:=]/)[0]).not.toEndWith("-");
      expect(name.split("=").length).toBeLessThanOrEqual(mayPin ? 2 : 1);
    }),
    { numRuns: 2_000 },
  );
});

test("a prefix or suffix that a manager reads as a command makes any name refused", () => {
  const name = fc.stringMatching(/^[a-z0-9][a-z0-9.]{0,10}$/);
  fc.assert(
    fc.property(
      name,
      fc.constantFrom("-", "!", "~", "@", "<", ">", "+", ".", "/", ":", "="),
      (good, sign) => {
        expect(problemOfName(sign + good, true)).toBeDefined();
      },
    ),
  );
  fc.assert(
    fc.property(name, fc.constantFrom("-", "*", "?", "^", "/", ":", "=", "\n", " ", ";"), (good, sign) => {
      expect(problemOfName(good + sign, true)).toBeDefined();
    }),
  );
});

test("a search has at most ten words, none empty, and none with a control character", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      const words = searchWords(text);
      expect(words.length).toBeLessThanOrEqual(10);
      for (const word of words) expect(word).toMatch(/^[^\s\p{Cc}]+$/u);
    }),
  );
});
