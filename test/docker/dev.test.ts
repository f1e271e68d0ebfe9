// Promises of `dev` where there is Docker: one command, a project runs and is shown, and nothing of it is left behind.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { seconds } from "../../src/lib/duration.ts";
import { PROJECT_LABEL } from "../../src/projects/plan/names.ts";
import { type Machine, machine, startDev } from "../support/dev.ts";
import { IMAGE, docker, missing, testImage, until } from "../support/docker.ts";
import { type Daemon, missingDaemon, startDaemon } from "../support/dockerd.ts";

setDefaultTimeout(seconds(120));

const unmet = missing ?? missingDaemon;
if (unmet !== undefined) console.warn(`tests of dev on Docker are skipped: this machine lacks ${unmet}`);

/** A daemon of its own: `dev` leaves one alone on which another agent has containers. */
async function daemonWithImage(host: Machine): Promise<Daemon> {
  await testImage();
  await docker("save", "--output", host.at("image.tar"), IMAGE);
  const daemon = await startDaemon();
  await daemon.docker("load", "--input", host.at("image.tar"));
  return daemon;
}

const apply = ["sandbox", "apply", "--example", "web", "--image", IMAGE, "--wait", "--timeout", "60s"];

/** Containers, networks and volumes of any project. */
async function leftOn(daemon: Daemon): Promise<string[]> {
  const label = ["--quiet", "--filter", `label=${PROJECT_LABEL}`];
  const kinds = [
    ["ps", "--all"],
    ["network", "ls"],
    ["volume", "ls"],
  ];
  const lists = await Promise.all(kinds.map((kind) => daemon.docker(...kind, ...label)));
  return lists.flatMap((list) => list.split("\n").filter(Boolean));
}

describe.skipIf(unmet !== undefined)("on a Docker daemon of its own (needs root, Docker and dockerd)", () => {
  test("the example comes up, is shown as Running, and is deleted without a trace", async () => {
    using host = machine();
    await using daemon = await daemonWithImage(host);
    await using dev = await startDev(host, { env: { DOCKER_HOST: daemon.host } });
    expect(JSON.parse(dev.ready)).toMatchObject({ docker: { projects: true, problem: null } });

    const applied = await host.run(apply, { timeout: seconds(70) });
    expect(applied).toMatchObject({ code: 0, stdout: "project example-web created\n" });
    expect(applied.stderr).toContain("example-web: Running  ContainersRunning: ");
    const shown = await host.run(["sandbox", "get", "projects"]);
    expect(shown.stdout).toMatch(/^example-web +Running +demo-1 +web +\S+ +ContainersRunning: /m);
    expect(await daemon.docker("ps", "--format", "{{.Names}}")).toBe("example-web-web");

    // Asked of the agent that runs here, with the token it has: nothing is configured where this is typed.
    const logs = await host.run(["logs", "example-web/web"], { env: { DOCKER_HOST: "" } });
    expect({ code: logs.code, stderr: logs.stderr.replace(/\/\S+/, "DIRECTORY") }).toEqual({
      code: 0,
      stderr: "The agent that runs with the state directory DIRECTORY\n",
    });

    const gone = await host.run(["sandbox", "delete", "project", "example-web"]);
    expect(gone.stdout).toBe("project example-web Terminating; demo-1 removes its containers\n");
    await until("nothing is left", async () => (await leftOn(daemon)).length === 0, seconds(60));
    expect(dev.process.stderr()).toBe("");
  });

  test("Ctrl-C takes a running project with it", async () => {
    using host = machine();
    await using daemon = await daemonWithImage(host);
    await using dev = await startDev(host, { env: { DOCKER_HOST: daemon.host } });
    expect(await host.run(apply, { timeout: seconds(70) })).toMatchObject({ code: 0 });
    dev.process.signal("SIGINT");
    expect(await dev.process.exited).toBe(130);
    expect(await leftOn(daemon)).toEqual([]);
  });
});
