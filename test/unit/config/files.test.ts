// Which files are read, which are passed over, and which one is written.
import { expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync } from "node:fs";
import { $ } from "bun";
import { scratch } from "./scratch.ts";

const user = (name: string): string => JSON.stringify({ task_user: name });

test("the first JSON file of the search order is read and no other", async () => {
  using folder = scratch({ "config/config.json": user("third"), "config.json": user("second") });
  expect((await folder.load()).settings.task_user).toBe("second");
  folder.write("config.local.json", user("first"));
  const { settings, files } = await folder.load();
  expect(settings.task_user).toBe("first");
  expect(files.map(({ path }) => path)).toEqual([folder.at("config.local.json")]);
});

test("a file named in the environment is read alone", async () => {
  using folder = scratch({
    "config.json": '{ "task_timeout": "1m" }',
    "config.yaml": "task_timeout: 2m",
    "my.json": user("named"),
  });
  const { settings, files } = await folder.load({ env: { NODERAX_CONFIG_FILE: "my.json" } });
  expect([settings.task_user, settings.task_timeout, files.length]).toEqual(["named", 600_000, 1]);
});

test("--config goes before NODERAX_CONFIG_FILE and reads YAML by its extension", async () => {
  using folder = scratch({ "a.json": user("a"), "b.yml": "task_user: b" });
  const { settings } = await folder.load({
    configFile: folder.at("b.yml"),
    env: { NODERAX_CONFIG_FILE: "a.json" },
  });
  expect(settings.task_user).toBe("b");
});

test("a named file that is missing is an error for readers and a place to write for others", async () => {
  using folder = scratch();
  const env = { NODERAX_CONFIG_FILE: "new/config.json" };
  const error = await folder.refuses({ env });
  expect(error.code).toBe("config.missing");
  expect(error.message).toContain("NODERAX_CONFIG_FILE");
  expect((await folder.load({ env, requireFile: false })).savePath()).toBe(folder.at("new/config.json"));
});

test("a setting is saved where it stands, a new one into the JSON file, else the YAML file, else ./config.json", async () => {
  using folder = scratch();
  expect((await folder.load()).savePath("task_user")).toBe(folder.at("config.json"));
  folder.write("config.yaml", "task_user: a");
  expect((await folder.load()).savePath("log_level")).toBe(folder.at("config.yaml"));
  folder.write("config/config.json", '{ "log_level": "warn" }');
  const { savePath } = await folder.load();
  expect(savePath("task_user")).toBe(folder.at("config.yaml"));
  expect(savePath("log_level")).toBe(folder.at("config/config.json"));
  expect(savePath("node_id")).toBe(folder.at("config/config.json"));
});

test.each([0o620, 0o602])("a .env with mode %o is skipped with a warning", async (mode) => {
  using folder = scratch();
  chmodSync(folder.write(".env", "TASK_USER=x\nNODERAX_TASK_USER=x"), mode);
  const { settings, warnings } = await folder.load();
  expect(settings.task_user).toBe("noderax");
  expect(warnings.join()).toContain(".env is not read");
});

test.skipIf(process.getuid?.() !== 0)(
  "files of another user in the working directory are skipped with a warning (needs root)",
  async () => {
    using folder = scratch({
      ".env": "NODERAX_TASK_USER=x",
      "config.json": user("evil"),
      "config.yaml": "debug: true",
    });
    for (const name of [".env", "config.json", "config.yaml"]) chownSync(folder.at(name), 4242, 4242);
    const { settings, warnings, files } = await folder.load();
    expect(settings.task_user).toBe("noderax");
    expect(files).toEqual([]);
    expect(warnings).toHaveLength(3);
  },
);

test("a .env without a name of ours is not read at all", async () => {
  using folder = scratch();
  folder.write(".env", "PATH=/evil\nLD_PRELOAD=x\nNODERAX_CONFIG_FILE=/evil.json", 0o666);
  const { files, warnings } = await folder.load();
  expect({ files, warnings }).toEqual({ files: [], warnings: [] });
});

test("a file with secrets that others may read is a warning with the command that helps", async () => {
  using folder = scratch();
  const path = folder.write("config.json", '{ "agent_token": "secret" }');
  chmodSync(path, 0o644);
  expect((await folder.load()).warnings).toEqual([
    `${path} holds secrets and others may read it: chmod 600 ${path}`,
  ]);
  chmodSync(path, 0o600);
  expect((await folder.load()).warnings).toEqual([]);
});

test("a directory or a named pipe in a file's place is refused, not waited for", async () => {
  using folder = scratch();
  mkdirSync(folder.at("config.json"));
  expect((await folder.refuses()).message).toContain("not a regular file");
  await $`mkfifo ${folder.at("config.local.json")}`.quiet();
  expect((await folder.refuses()).message).toContain("config.local.json is not a regular file");
});

test("empty files are no settings", async () => {
  using folder = scratch({ "config.json": "  \n", "config.yaml": "# nothing yet\n", ".env": "" });
  expect((await folder.load()).settings.task_user).toBe("noderax");
});
