// A config.json of another program in the working directory: neither read, nor written to, nor an error.
import { expect, test } from "bun:test";
import { scratch } from "./scratch.ts";

test.each([
  ["config.json", '{ "name": "my-app", "port": 3000, "database": { "host": "db" } }'],
  ["config.json", '{ "debug": true, "log_level": "trace", "log_format": "pretty", "port": 3000 }'],
  ["config.json", '{ "server_port": 8080, "hostname": "x" }'],
  ["config.json", '[{ "name": "my-app" }]'],
  ["config.json", "// comments\n{ name: 'json5' }"],
  ["config.local.json", '{ "plugins": [] }'],
  ["config.yaml", "title: my site\ntheme: dark\n"],
])("%s with %j is passed over with a warning and not written to", async (name, text) => {
  using folder = scratch({ [name]: text });
  const { files, warnings, settings, savePath } = await folder.load();
  expect(files).toEqual([]);
  expect(warnings).toEqual([
    `${folder.at(name)} is not read: no setting of this agent stands in it, so it is another program's`,
  ]);
  expect(settings.log_level).toBe("info");
  expect(savePath("api_url")).not.toBe(folder.at(name));
});

test("the next file that is ours is read instead, and the one that is written is found again", async () => {
  const foreign = '{ "name": "my-app", "port": 3000 }';
  using folder = scratch({ "config.json": foreign, "config/config.json": '{ "task_user": "ours" }' });
  expect((await folder.load()).settings.task_user).toBe("ours");
  using other = scratch({ "config.json": foreign });
  const { savePath } = await other.load();
  expect(savePath()).toBe(other.at("config.local.json"));
  other.write("config.local.json", '{ "task_user": "saved" }');
  expect((await other.load()).settings.task_user).toBe("saved");
});

test("a directory that other programs have filled is told, and how to go on", async () => {
  const foreign = '{ "name": "my-app", "port": 3000 }';
  using folder = scratch({
    "config.json": foreign,
    "config.local.json": foreign,
    "config/config.json": foreign,
  });
  const { savePath } = await folder.load();
  expect(() => savePath()).toThrow("has no place for a configuration file");
});

test.each([
  [
    "a typing error alone",
    '{ "heartbeat_intervall": "30s" }',
    "heartbeat_intervall (did you mean heartbeat_interval?)",
  ],
  ["an unknown key beside one of ours", '{ "task_user": "a", "port": 3000 }', "unknown key port"],
  ["broken text that names one of ours", '{ "api_url": "http://x",', "expected a key in double quotes"],
])("our own file with %s stays an error", async (_, text, message) => {
  using folder = scratch({ "config.json": text });
  expect((await folder.refuses()).message).toContain(message);
});

test("one that is named is ours, whatever stands in it", async () => {
  using folder = scratch({ "my.json": '{ "name": "my-app" }' });
  expect((await folder.refuses({ configFile: "my.json" })).message).toContain("unknown key name");
});
