// The settings that an installation writes for its service, and the example that `config init` writes.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { settingsChange } from "../../../src/cli/commands/install/settings.ts";
import { exampleConfig } from "../../../src/config/describe.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { optionKeys } from "../../../src/config/options.ts";
import { type LoadOptions, readSources } from "../../../src/config/sources.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "settings-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const file = (name: string, text: string): string => {
  const path = join(directory, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};

describe("an installation writes", () => {
  const changed = async (target: string, options: Partial<LoadOptions>): Promise<object> => {
    const sources = await readSources({
      env: {},
      cwd: directory,
      requireFile: false,
      configFile: target,
      ...options,
    });
    return Object.fromEntries((await settingsChange(sources, target)).changed);
  };
  const state_file = "/var/lib/noderax-agent/agent_identity.json";

  test("flags and variables, and where the state is", async () => {
    const flags = new Map([["log_level", "debug"]] as const);
    const env = { NODERAX_API_URL: "https://api.example.com" };
    expect(await changed(join(directory, "none.json"), { flags, env })).toEqual({
      api_url: "https://api.example.com",
      log_level: "debug",
      state_file,
    });
  });

  test("nothing that the file of the service says already", async () => {
    const target = file("config.json", `{"log_level":"debug","state_file":"/srv/identity.json"}`);
    expect(await changed(target, { flags: new Map([["log_level", "debug"]] as const) })).toEqual({});
  });

  test("everything of another agent's file that is named", async () => {
    const named = file("config.yaml", "server_url: http://cara:8080\nnode_name: box\n");
    expect(await changed(join(directory, "none.json"), { configFile: named })).toEqual({
      server_url: "http://cara:8080",
      node_name: "box",
      state_file,
    });
  });
});

describe("the example configuration", () => {
  test("sets nothing as it is", async () => {
    const config = await loadConfig({
      env: {},
      cwd: directory,
      configFile: file("example.yaml", exampleConfig()),
    });
    expect([...config.origins.values()].filter(({ from }) => from !== "default")).toEqual([]);
  });

  test("names every setting, and takes each with its default when the # is removed", async () => {
    const text = exampleConfig().replaceAll(/^#(?=\w)/gm, "");
    for (const key of optionKeys) expect(text).toContain(`\n${key}: `);
    const config = await loadConfig({ env: {}, cwd: directory, configFile: file("all.yaml", text) });
    expect(config.warnings.filter((warning) => warning.includes("unknown"))).toEqual([]);
  });
});
