// Called as cara-agent: its flags, its file, its default server, and no command needed.
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

test("its server is the one on this machine by default", async () => {
  using folder = scratch();
  const out = await caraAgent(folder.path, ["config", "show"]).stdout.text();
  expect(out).toMatch(/^server_url +http:\/\/localhost:8080$/m);
});

test("hints name the program as called, with flags in place of config set", async () => {
  using folder = scratch();
  const wrong = caraAgent(folder.path, ["-node-name", "Bad_Name"]);
  expect(await wrong.stderr.text()).toEndWith("\n  Choose one:  cara-agent -node-name web-1\n");
  expect(await wrong.exited).toBe(2);
  const unknown = await caraAgent(folder.path, ["-node-nme", "a"]).stderr.text();
  expect(unknown).toEndWith("(did you mean --node-name?)\n  See:  cara-agent help run\n");
  const help = await caraAgent(folder.path, ["--help"]).stdout.text();
  expect(help).toContain("Usage: cara-agent <command> [flags]");
  expect(help).not.toContain("noderax-agent");
});

test("the log of the start names the server", async () => {
  using folder = scratch();
  const agent = caraAgent(folder.path, [
    "-server-url=localhost:1",
    `-docker-host=unix://${folder.at("none")}`,
  ]);
  let log = "";
  const wanted = '"server_url":"http://localhost:1"';
  for await (const bytes of agent.stdout) {
    log += new TextDecoder().decode(bytes);
    if (log.includes(wanted)) break;
  }
  agent.kill("SIGKILL");
  expect(log).toContain(wanted);
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
