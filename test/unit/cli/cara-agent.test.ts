// Called by the name of the other agent: its flags, its file, its default server, and no command needed.
import { join } from "node:path";
import { expect, test } from "bun:test";
import { scratch } from "../config/scratch.ts";
import { serve } from "../control/servers.ts";

const main = join(import.meta.dir, "../../../src/main.ts");

function caraAgent(cwd: string, argv: readonly string[]) {
  return Bun.spawn([process.execPath, "--no-env-file", main, ...argv], {
    argv0: "/usr/local/bin/cara-agent",
    cwd,
    env: { PATH: process.env["PATH"] ?? "", HOME: cwd },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

test("its server is the one on this machine unless told otherwise", async () => {
  using folder = scratch();
  const out = await caraAgent(folder.path, ["config", "show"]).stdout.text();
  expect(out).toMatch(/^server_url +http:\/\/localhost:8080$/m);
});

test.each([
  ["its config.yaml in the working directory names the node", [], "from-yaml"],
  ["a flag with one dash overrules the file", ["-node-name", "from-flag"], "from-flag"],
])("%s", async (_, flags, name) => {
  using folder = scratch({ "config.yaml": "node_name: from-yaml\n" });
  const registered = Promise.withResolvers<unknown>();
  await using server = serve(async (request) => {
    if (request.url.endsWith("/api/v1/nodes")) registered.resolve(await request.json());
    return Response.json({ kind: "ProjectList", items: [] });
  });
  const nowhere = `--docker-host=unix://${folder.at("no-docker")}`;
  const agent = caraAgent(folder.path, [`-server-url=${server.url}`, nowhere, ...flags]);
  const ended = agent.exited.then((code) => Promise.reject(new Error(`it ended with ${code}`)));
  expect(await Promise.race([registered.promise, ended])).toMatchObject({ kind: "Node", metadata: { name } });
  ended.catch(() => {});
  agent.kill("SIGKILL");
  await agent.exited;
});
