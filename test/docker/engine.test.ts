// The engine on a real Docker daemon: every call, and what a snapshot shows of every state.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { seconds } from "../../src/lib/duration.ts";
import { steadyNow } from "../../src/lib/clock.ts";
import type { DesiredService } from "../../src/projects/plan/desired.ts";
import type { Engine } from "../../src/projects/plan/engine.ts";
import { networkName, volumeName } from "../../src/projects/plan/names.ts";
import type { ObservedContainer, ObservedProject } from "../../src/projects/plan/observed.ts";
import { observedIn } from "../../src/projects/plan/observed.ts";
import {
  IMAGE,
  type Playground,
  createPlayground,
  docker,
  engine,
  missing,
  until,
} from "../support/docker.ts";

setDefaultTimeout(150_000);

const signal = new AbortController().signal;

describe.skipIf(missing !== undefined)("the engine (needs Docker)", () => {
  const own: Engine = missing === undefined ? engine() : engine({ host: "unix:///nowhere" });

  test("tells version, settled API version and data directory", async () => {
    const info = await own.info(signal);
    expect(info.version).toMatch(/^\d+\.\d+/);
    expect(info.apiVersion).toMatch(/^1\.(2[5-9]|3\d|4[0-4])$/);
    expect(info.root).toStartWith("/");
  });

  test("a container it made carries labels, environment, mounts, alias and fingerprint, and no restart policy", async () => {
    await using place = await createPlayground();
    const desired = place.wants(
      [{ name: "web", env: { GREETING: "hello world=1", EMPTY: "" }, mounts: { data: "/data" } }],
      ["data"],
    );
    await place.bringUp(desired);
    const [web] = only(await seen(own, place.project));
    expect(web).toMatchObject({
      name: `${place.project}-web`,
      service: "web",
      role: "current",
      state: "running",
      image: IMAGE,
      fingerprint: first(desired.services).fingerprint,
      exit: undefined,
    });
    const made = JSON.parse(await docker("inspect", web.id))[0];
    expect(made.Config.Env).toEqual(expect.arrayContaining(["GREETING=hello world=1", "EMPTY="]));
    expect(made.Config.Labels).toMatchObject({ "cara.project": place.project, "cara.service": "web" });
    expect(made.HostConfig.RestartPolicy.Name).toBe("no");
    expect(made.Mounts).toMatchObject([
      { Type: "volume", Name: volumeName(place.project, "data"), Destination: "/data" },
    ]);
    expect(await docker("exec", web.id, "sh", "-c", "ping -c1 web && echo reached")).toContain("reached");
  });

  test("the node's name stands on whatever it made, and is no part of the fingerprint", async () => {
    const named = engine({ node: "web-1" });
    await using place = await createPlayground(named);
    const desired = place.wants([{ name: "web", mounts: { data: "/data" } }], ["data"]);
    await place.bringUp(desired);
    const up = await seen(own, place.project);
    const [web] = only(up);
    const made = [web.id, present(up.network), ...up.volumes];
    expect(up.makers).toEqual(new Map(made.map((key) => [key, "web-1"])));
    expect(web.fingerprint).toBe(first(desired.services).fingerprint);
  });

  test("logs are bounded where the daemon does not bound them", async () => {
    await using place = await createPlayground();
    await place.bringUp(place.wants([{ name: "a" }, { name: "b" }]));
    for (const { id } of (await seen(own, place.project)).containers) {
      const log = JSON.parse(await docker("inspect", "--format", "{{json .HostConfig.LogConfig}}", id));
      if (log.Type === "json-file") expect(log.Config["max-size"]).toBeString();
    }
  });

  test("network and volumes are seen with the address of the container, and go when removed", async () => {
    await using place = await createPlayground();
    await place.bringUp(place.wants([{ name: "web" }], ["one", "two"]));
    const up = await seen(own, place.project);
    expect(up.volumes).toEqual(new Set([volumeName(place.project, "one"), volumeName(place.project, "two")]));
    const [web] = only(up);
    expect([...web.networks.keys()]).toEqual([present(up.network)]);
    expect([...web.networks.values()][0]).toMatch(/^\d+\.\d+\.\d+\.\d+$/);

    await own.removeContainer(web.id, signal);
    await own.removeNetwork(present(up.network), signal);
    for (const volume of up.volumes) await own.removeVolume(volume, signal);
    expect((await own.snapshot(signal)).projects.get(place.project)).toBeUndefined();
  });

  test("removing what is gone is fine, starting it is not", async () => {
    await own.removeContainer("0123456789ab", signal);
    await own.removeNetwork("0123456789ab", signal);
    await own.removeVolume("noderax-no-such-volume", signal);
    await own.stopContainer("0123456789ab", seconds(1), signal);
    expect(await failure(own.startContainer("0123456789ab", signal))).toMatchObject({
      code: "docker.gone",
      status: 404,
    });
  });

  test("every state is seen as it is: created, running, paused, exited", async () => {
    await using place = await createPlayground();
    const desired = place.wants([{ name: "made" }, { name: "runs" }, { name: "sleeps" }, { name: "ended" }]);
    await own.createNetwork(place.project, desired.network, signal);
    for (const service of desired.services)
      await own.createContainer(place.project, service, "current", desired.network, signal);
    for (const name of ["runs", "sleeps", "ended"])
      await own.startContainer(`${place.project}-${name}`, signal);
    await docker("pause", `${place.project}-sleeps`);
    await own.stopContainer(`${place.project}-ended`, seconds(10), signal);
    const up = await seen(own, place.project);
    expect(Object.fromEntries(up.containers.map(({ service, state }) => [service, state]))).toEqual({
      made: "created",
      runs: "running",
      sleeps: "paused",
      ended: "exited",
    });
    // Also one that never ran is on its network.
    for (const { networks } of up.containers) expect(networks.has(present(up.network))).toBe(true);

    await own.unpauseContainer(`${place.project}-sleeps`, signal);
    await own.unpauseContainer(`${place.project}-sleeps`, signal);
    expect(one(await seen(own, place.project), "sleeps").state).toBe("running");
  });

  test("one that ended tells code, time and its last lines", async () => {
    await using place = await createPlayground();
    const image = await place.image(
      "echo one; echo two; echo three; sleep 0.2; printf '\\033[31mfour\\033[0m\\n' >&2; exit 7",
    );
    const before = steadyNow();
    await place.bringUp(place.wants([{ name: "job", image }]));
    const job = await ended(own, place.project, "job");
    expect(job.exit).toEqual({ code: 7, oomKilled: false, lastLines: "two | three | four", byItself: false });
    expect(job.since).toBeWithin(before, steadyNow());
  });

  test("one that ends a second time tells of its second end", async () => {
    await using place = await createPlayground();
    const image = await place.image(
      "echo run $(cat /count 2>/dev/null); echo x >>/count; exit $(grep -c x /count || true)",
    );
    await place.bringUp(place.wants([{ name: "job", image }]));
    const earlier = await ended(own, place.project, "job");
    await docker("start", "--attach", earlier.id).catch(() => {});
    const later = await ended(own, place.project, "job");
    expect(later.since).toBeGreaterThan(earlier.since);
  });

  test("one that was out of memory says so", async () => {
    await using place = await createPlayground();
    const desired = place.wants([
      { name: "greedy", image: await place.image("dd if=/dev/zero of=/dev/null bs=100M") },
    ]);
    await own.createNetwork(place.project, desired.network, signal);
    await own.createContainer(place.project, first(desired.services), "current", desired.network, signal);
    await docker("update", "--memory", "20m", "--memory-swap", "20m", `${place.project}-greedy`);
    await own.startContainer(`${place.project}-greedy`, signal);
    expect((await ended(own, place.project, "greedy")).exit).toMatchObject({ code: 137, oomKilled: true });
  });

  test("roles are read from names, also after a rename", async () => {
    await using place = await createPlayground();
    const desired = place.wants([{ name: "web" }]);
    await place.bringUp(desired);
    await own.createContainer(place.project, first(desired.services), "next", desired.network, signal);
    await own.renameContainer(`${place.project}-web`, `${place.project}-web_previous`, signal);
    const { containers } = await seen(own, place.project);
    expect(containers.map(({ role, state }) => `${role} ${state}`).sort()).toEqual([
      "next created",
      "previous running",
    ]);
  });

  test("one that runs on a network that was made anew is connected under its alias", async () => {
    await using place = await createPlayground();
    const desired = place.wants([{ name: "web" }]);
    await place.bringUp(desired);
    await docker("network", "disconnect", desired.network, `${place.project}-web`);
    await docker("network", "rm", desired.network);
    await own.createNetwork(place.project, desired.network, signal);
    const apart = await seen(own, place.project);
    const { id, networks } = one(apart, "web");
    expect(networks.has(present(apart.network))).toBe(false);
    await own.connectNetwork(id, present(apart.network), "web", signal);
    await own.connectNetwork(id, present(apart.network), "web", signal);
    expect(one(await seen(own, place.project), "web").networks.has(present(apart.network))).toBe(true);
    expect(await docker("exec", id, "nslookup", "web")).toContain("Name:\tweb");
  });

  test("the other agent's containers are reported with what they were made from", async () => {
    await using place = await createPlayground();
    const desired = place.wants([{ name: "web", env: { A: "1" }, mounts: { data: "/data" } }], ["data"]);
    await own.createNetwork(place.project, desired.network, signal);
    const id = await place.byOtherAgent({
      ...first(desired.services),
      mounts: [...first(desired.services).mounts],
    });
    const web = one(await seen(own, place.project), "web");
    expect(web).toMatchObject({ id, role: "current", fingerprint: undefined, image: IMAGE });
    expect(web.made?.env).toContain("A=1");
    expect(web.made?.mounts).toEqual([`${volumeName(place.project, "data")}:/data`]);
  });

  test("a container that is not on record serves nobody, and is reported with what it was made from", async () => {
    await using place = await createPlayground();
    await place.bringUp(place.wants([{ name: "web" }]));
    const { id } = one(await seen(own, place.project), "web");
    const strict = engine({ isRecorded: () => false });
    expect((await own.findService(place.project, "web", signal))?.id).toBe(id);
    expect(await strict.findService(place.project, "web", signal)).toBeUndefined();
    expect(one(await seen(strict, place.project), "web").made).toMatchObject({
      networks: [`cara-${place.project}`],
      mounts: [],
      restarts: false,
    });
  });

  test("a name that a stranger holds is taken, and so is one of another project of ours", async () => {
    await using place = await createPlayground();
    const other = `${place.project}-b`;
    const theirs = place.wants([{ name: "c" }], [], other);
    await place.bringUp(theirs);
    const stranger = await place.foreign(`${place.project}-db`);
    const snapshot = await own.snapshot(signal);
    const desired = place.wants([{ name: "b-c" }, { name: "db" }, { name: "free" }]);
    const { taken } = observedIn(snapshot, place.project, desired);
    expect(taken.get("db")).toBe(`container ${stranger.slice(0, 12)} (${IMAGE})`);
    expect(taken.get("b-c")).toBe(`project ${other}`);
    expect(taken.has("free")).toBe(false);
    expect(observedIn(snapshot, other, theirs).taken.size).toBe(0);
    expect(snapshot.projects.has(place.project)).toBe(false);
  });

  test("a volume of somebody else is not taken for ours", async () => {
    await using place = await createPlayground();
    const name = volumeName(place.project, "data");
    await docker("volume", "create", name);
    const error = await failure(own.createVolume(place.project, name, signal));
    expect(error).toMatchObject({ code: "docker.refused", message: expect.stringContaining(name) });
  });

  test("what the daemon refuses comes in its own words", async () => {
    await using place = await createPlayground();
    const desired = place.wants([{ name: "web" }, { name: "gone", image: `${place.project}/no-such:1` }]);
    await own.createNetwork(place.project, desired.network, signal);
    expect(await failure(own.createNetwork(place.project, desired.network, signal))).toMatchObject({
      code: "docker.refused",
      status: 409,
      message: expect.stringContaining("already exists"),
    });
    const [gone, web] = desired.services;
    await own.createContainer(place.project, present(web), "current", desired.network, signal);
    const again = own.createContainer(place.project, present(web), "current", desired.network, signal);
    expect(await failure(again)).toMatchObject({ code: "docker.refused", status: 409 });
    const missed = own.createContainer(place.project, present(gone), "current", desired.network, signal);
    expect(await failure(missed)).toMatchObject({
      code: "docker.gone",
      message: expect.stringContaining("No such image"),
    });
  });

  test("a command that does not exist is refused at the start and leaves the container created", async () => {
    await using place = await createPlayground();
    const desired = place.wants([{ name: "web", mounts: { data: "/bin" } }], ["data"]);
    await own.createNetwork(place.project, desired.network, signal);
    await docker(
      "volume",
      "create",
      "--label",
      `cara.project=${place.project}`,
      volumeName(place.project, "data"),
    );
    await docker("run", "--rm", "-v", `${volumeName(place.project, "data")}:/v`, IMAGE, "true");
    await docker(
      "run",
      "--rm",
      "-v",
      `${volumeName(place.project, "data")}:/v`,
      IMAGE,
      "sh",
      "-c",
      "echo >/v/full",
    );
    await own.createContainer(place.project, first(desired.services), "current", desired.network, signal);
    const error = await failure(own.startContainer(`${place.project}-web`, signal));
    expect(error).toMatchObject({
      code: "docker.refused",
      message: expect.stringContaining("executable file not found"),
    });
    expect(one(await seen(own, place.project), "web").state).toBe("created");
  });

  test("a stop is waited for, and one that does not listen is killed after the grace", async () => {
    await using place = await createPlayground();
    const deaf = await place.image("trap '' TERM; echo deaf; while :; do sleep 1; done");
    await place.bringUp(place.wants([{ name: "deaf", image: deaf }]));
    // Before, the signal may reach the program that starts the shell.
    await until("it is deaf", async () => (await docker("logs", `${place.project}-deaf`)) === "deaf");
    const started = Date.now();
    await own.stopContainer(`${place.project}-deaf`, seconds(1), signal);
    expect(Date.now() - started).toBeWithin(900, 9_000);
    expect((await ended(own, place.project, "deaf")).exit?.code).toBe(137);
    await own.stopContainer(`${place.project}-deaf`, seconds(1), signal);
  });

  test("a paused one is stopped", async () => {
    await using place = await createPlayground();
    await place.bringUp(place.wants([{ name: "web" }]));
    await docker("pause", `${place.project}-web`);
    await own.stopContainer(`${place.project}-web`, seconds(2), signal);
    expect(one(await seen(own, place.project), "web").state).toBe("exited");
  });

  test("images are listed by full reference", async () => {
    await using place = await createPlayground();
    const name = await place.image("true");
    expect((await own.snapshot(signal)).images).toContain(`docker.io/library/${name}`);
  });
});

describe.skipIf(missing !== undefined)("fifty containers (needs Docker)", () => {
  let place: Playground;
  beforeAll(async () => {
    place = await createPlayground();
    const services = Array.from({ length: 50 }, (_, n) => ({ name: `s${n}` }));
    const desired = place.wants(services);
    const own = engine();
    await own.createNetwork(desired.name, desired.network, signal);
    for (const service of desired.services)
      await own.createContainer(desired.name, service, "current", networkName(desired.name), signal);
  }, seconds(120));
  afterAll(() => place[Symbol.asyncDispose](), seconds(120));

  test("are looked at in one go", async () => {
    const own = engine();
    await own.snapshot(signal);
    const started = performance.now();
    const snapshot = await own.snapshot(signal);
    const took = performance.now() - started;
    expect(snapshot.projects.get(place.project)?.containers).toHaveLength(50);
    expect(took).toBeLessThan(seconds(20));
  });
});

async function seen(own: Engine, project: string): Promise<ObservedProject> {
  return present((await own.snapshot(signal)).projects.get(project));
}

function ended(own: Engine, project: string, service: string): Promise<ObservedContainer> {
  return until(`${service} ended`, async () => {
    const container = one(await seen(own, project), service);
    return container.state === "exited" && container;
  });
}

function one({ containers }: ObservedProject, service: string): ObservedContainer {
  return present(containers.find((container) => container.service === service));
}

function only({ containers }: ObservedProject): [ObservedContainer] {
  expect(containers).toHaveLength(1);
  return [present(containers[0])];
}

const first = (services: readonly DesiredService[]): DesiredService => present(services[0]);

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("there is none");
  return value;
}

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error,
  );
