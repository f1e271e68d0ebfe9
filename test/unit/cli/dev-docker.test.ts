// What `dev` finds out about Docker, and what it removes at its end: against a daemon that is a server of this test.
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findDocker } from "../../../src/cli/commands/dev/docker.ts";

interface Thing {
  readonly Id: string;
  readonly Names: readonly string[];
  readonly Name: string;
  readonly Labels: Record<string, string> | null;
}

const thing = (id: string, project: string): Thing => ({
  Id: id,
  Names: [`/${project}-${id}`],
  Name: id,
  Labels: { "cara.project": project },
});

interface Daemon extends Disposable {
  readonly host: string;
  containers: Thing[];
  networks: Thing[];
  volumes: Thing[] | null;
  /** Containers that cannot be removed. */
  readonly stuck: Set<string>;
}

function daemon(): Daemon {
  const directory = mkdtempSync(join(tmpdir(), "dev-docker-"));
  const socket = join(directory, "docker.sock");
  const world: Daemon = {
    host: `unix://${socket}`,
    containers: [],
    networks: [],
    volumes: null,
    stuck: new Set(),
    [Symbol.dispose]() {
      void server.stop(true);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  const server = Bun.serve({
    unix: socket,
    async fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      const [, kind, id = ""] = pathname.replace(/^\/v1\.44(?=\/)/, "").split("/");
      if (kind === "version") return Response.json({ Version: "28.2.2", ApiVersion: "1.50" });
      if (request.method === "GET") {
        expect(searchParams.get("filters")).toBe('{"label":["cara.project"]}');
        if (kind === "containers") return Response.json(world.containers);
        return Response.json(kind === "volumes" ? { Volumes: world.volumes } : world.networks);
      }
      if (world.stuck.has(id)) return Response.json({ message: "device busy" }, { status: 500 });
      const others = ({ Id }: Thing): boolean => Id !== id;
      if (kind === "containers") world.containers = world.containers.filter(others);
      if (kind === "networks") world.networks = world.networks.filter(others);
      if (kind === "volumes") world.volumes = world.volumes?.filter(others) ?? null;
      return new Response(null, { status: 204 });
    },
  });
  return world;
}

test("a daemon without containers of ours is free for projects", async () => {
  using docker = daemon();
  expect(await findDocker(docker.host, {})).toMatchObject({ version: "28.2.2", problem: undefined });
});

test("where another agent has containers there are no projects, and nothing is ever removed", async () => {
  using docker = daemon();
  docker.containers = ["a", "b", "c", "d"].map((id) => thing(id, "shop"));
  const { version, problem, sweep } = await findDocker(docker.host, {});
  expect(version).toBe("28.2.2");
  expect(problem).toBe("containers of another agent are here: shop-a, shop-b, shop-c, …");
  expect(await sweep(new Set(["shop"]))).toEqual([]);
  expect(docker.containers).toHaveLength(4);
});

test("a socket that does not exist is the problem", async () => {
  const { version, problem } = await findDocker("unix:///nonexistent/docker.sock", {});
  expect([version, problem]).toEqual([
    undefined,
    "Docker does not answer at unix:///nonexistent/docker.sock: there is no such socket",
  ]);
});

test("a socket that nobody listens on, and an address that is none", async () => {
  const directory = mkdtempSync(join(tmpdir(), "dev-docker-"));
  try {
    writeFileSync(join(directory, "docker.sock"), "");
    const refused = await findDocker(`unix://${join(directory, "docker.sock")}`, {});
    expect(refused.problem).toStartWith(
      `Docker does not answer at unix://${join(directory, "docker.sock")}: `,
    );
    expect((await findDocker("ssh://host", {})).problem).toContain('"ssh://host" is not an address');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a frozen daemon does not hold up the start", async () => {
  using server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const begun = performance.now();
  const { problem } = await findDocker(`tcp://127.0.0.1:${server.port}`, {});
  expect(problem).toBe(
    `Docker does not answer at tcp://127.0.0.1:${server.port}: no answer to GET /version within 2s`,
  );
  expect(performance.now() - begun).toBeLessThan(20_000);
});

test("the sweep removes containers, networks and volumes of the named projects, and of no other", async () => {
  using docker = daemon();
  const { sweep } = await findDocker(docker.host, {});
  docker.containers = [thing("a", "shop"), thing("b", "other")];
  docker.networks = [thing("c", "shop"), thing("d", "other")];
  docker.volumes = [thing("e", "shop"), { ...thing("f", "other"), Labels: null }];
  expect(await sweep(new Set(["shop"]))).toEqual([]);
  const ids = [docker.containers, docker.networks, docker.volumes ?? []].map((all) =>
    all.map(({ Id }) => Id),
  );
  expect(ids).toEqual([["b"], ["d"], ["f"]]);
});

test("what could not be removed is named", async () => {
  using docker = daemon();
  const { sweep } = await findDocker(docker.host, {});
  docker.containers = [thing("a", "shop"), thing("b", "shop")];
  docker.stuck.add("b");
  expect(await sweep(new Set(["shop"]))).toEqual(["shop-b"]);
});
