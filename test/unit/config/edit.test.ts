// Edits change one value and leave everything else as its owner wrote it.
import { expect, test } from "bun:test";
import { chmodSync, lstatSync, statSync, symlinkSync } from "node:fs";
import * as fc from "fast-check";
import { editConfig, editJson, editText } from "../../../src/config/edit.ts";
import type { OptionKey } from "../../../src/config/options.ts";
import { scratch } from "./scratch.ts";

const change = (key: OptionKey, value: string | undefined): ReadonlyMap<OptionKey, string | undefined> =>
  new Map([[key, value]]);

test("a value is replaced in place; order, indentation and unknown keys stay", () => {
  const text = '{\n\t"zzz" : [1,  2],\n\t"log_level": "info" ,\n\t"api_url":"https://x"\n}\n';
  expect(editJson(text, change("log_level", "warn"))).toBe(text.replace('"info"', '"warn"'));
});

test("a new key goes to the end with the file's own indentation", () => {
  expect(editJson('{\n    "a": 1\n}', change("listen_port", "9191"))).toBe(
    '{\n    "a": 1,\n    "listen_port": 9191\n}',
  );
  expect(editJson("", change("debug", "on"))).toBe('{\n  "debug": true\n}\n');
  expect(editJson('{"a":1}', change("task_timeout", "90s"))).toBe('{"a":1,"task_timeout": "90s"}');
});

test("a removed key takes its comma with it, wherever it stands", () => {
  const text = '{\n  "node_id": "a",\n  "task_user": "b",\n  "api_url": "c"\n}';
  const left = (key: OptionKey): unknown => JSON.parse(editJson(text, change(key, undefined)));
  expect(left("node_id")).toEqual({ task_user: "b", api_url: "c" });
  expect(left("task_user")).toEqual({ node_id: "a", api_url: "c" });
  expect(left("api_url")).toEqual({ node_id: "a", task_user: "b" });
  expect(editJson('{ "node_id": "a" }', change("node_id", undefined))).toBe("{}");
});

test("for any JSON object an edit changes that key alone and keeps the order of the others", () => {
  const plain = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.array(fc.string()));
  fc.assert(
    fc.property(
      fc.uniqueArray(
        fc.tuple(
          fc.string().filter((key) => !/^\d+$|^__proto__$/.test(key)),
          plain,
        ),
        { selector: ([key]) => key },
      ),
      fc.constantFrom<OptionKey>("node_id", "task_user"),
      fc.option(fc.stringMatching(/^[a-z"\\ü]{1,10}$/), { nil: undefined }),
      fc.constantFrom(undefined, 2, "\t"),
      (pairs, key, value, indent) => {
        const before = [
          ["node_id", "old"] as const,
          ...pairs.filter(([name]) => name !== "node_id" && name !== "task_user"),
        ];
        const text = JSON.stringify(Object.fromEntries(before), null, indent);
        const after = Object.entries(JSON.parse(editJson(text, change(key, value))));
        const expected = before
          .map(([name, old]) => [name, name === key ? value : old])
          .filter(([, set]) => set !== undefined);
        if (value !== undefined && !before.some(([name]) => name === key)) expected.push([key, value]);
        expect(after).toEqual(expected as [string, unknown][]);
      },
    ),
  );
});

test("comments and order of a YAML file stay", async () => {
  const text = "# who we are\nnode_name: web # short\n\n# how loud\nlog_level: info\n";
  expect(await editText("c.yaml", text, change("log_level", "warn"))).toBe(text.replace("info", "warn"));
  expect(await editText("c.yaml", text, change("task_timeout", "5m"))).toBe(`${text}task_timeout: 5m\n`);
  expect(await editText("c.yaml", text, change("log_level", undefined))).toContain("node_name: web # short");
  expect(await editText("c.yaml", "", change("debug", "true"))).toBe("debug: true\n");
});

test("an address is saved in its normal form, a path and a duration as they were typed", () => {
  expect(editJson("{}", change("api_url", "api.example.com/"))).toContain('"https://api.example.com"');
  expect(editJson("{}", change("state_file", "./data/id.json"))).toContain('"./data/id.json"');
});

test("a malformed file is left alone", async () => {
  using folder = scratch({ "config.json": "{ broken" });
  const edit = editConfig({ path: folder.at("config.json"), changes: change("debug", "true") });
  expect(edit).rejects.toMatchObject({ code: "config.syntax" });
  await edit.catch(() => undefined);
  expect(folder.read("config.json")).toBe("{ broken");
});

test("what is saved is readable for its owner only, and the mirror gets a copy", async () => {
  using folder = scratch({ "config.json": "{}" });
  chmodSync(folder.at("config.json"), 0o644);
  const [path, mirror] = [folder.at("config.json"), folder.at("mirror/config.json")];
  expect(await editConfig({ path, mirror, changes: change("node_id", "n1") })).toEqual([]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(mirror).mode & 0o777).toBe(0o600);
  expect(folder.read("mirror/config.json")).toBe(folder.read("config.json"));
});

test("a mirror that cannot be written is a warning: the setting itself is saved", async () => {
  using folder = scratch({ file: "" });
  const warnings = await editConfig({
    path: folder.at("config.json"),
    mirror: folder.at("file/config.json"),
    changes: change("node_id", "n1"),
  });
  expect(warnings).toHaveLength(1);
  expect(JSON.parse(folder.read("config.json"))).toEqual({ node_id: "n1" });
});

test("a symbolic link stays one: the file behind it is changed", async () => {
  using folder = scratch({ "real.json": "{}" });
  symlinkSync(folder.at("real.json"), folder.at("config.json"));
  await editConfig({ path: folder.at("config.json"), changes: change("debug", "true") });
  expect(lstatSync(folder.at("config.json")).isSymbolicLink()).toBe(true);
  expect(JSON.parse(folder.read("real.json"))).toEqual({ debug: true });
});
