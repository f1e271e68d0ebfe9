// Docker that is away, frozen, forbidden, restarted; and its events.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { type Server, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import type { Engine, EngineEvent } from "../../src/projects/plan/engine.ts";
import { certificateFor, noOpenssl } from "../support/certificates.ts";
import { createPlayground, docker, engine, missing, until } from "../support/docker.ts";
import { type Daemon, missingDaemon, startDaemon } from "../support/dockerd.ts";

setDefaultTimeout(150_000);

const signal = new AbortController().signal;

describe("without a daemon", () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "noderax-docker-"));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  test("a socket that is not there is reported", async () => {
    const path = join(directory, "none");
    const error = await failure(engine({ host: `unix://${path}` }).snapshot(signal));
    expect(error).toMatchObject({ code: "docker.away", message: expect.stringContaining(path) });
  });

  test("a port where nobody listens is reported", async () => {
    const error = await failure(engine({ host: "tcp://127.0.0.1:1" }).info(signal));
    expect(error).toMatchObject({ code: "docker.away", message: expect.stringContaining("nobody listens") });
  });

  test.each(["ssh://host", "unix://relative", "tcp://", "npipe:////./pipe/docker_engine", "nonsense"])(
    "%s is no address",
    async (host) => {
      const error = await failure(engine({ host }).info(signal));
      expect(error).toMatchObject({
        code: "docker.away",
        hint: [expect.stringContaining("tcp://host:2375")],
      });
    },
  );

  test("certificates that are not there are reported by name", async () => {
    const environment = { DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: directory };
    const error = await failure(engine({ host: "tcp://127.0.0.1:1", environment }).info(signal));
    expect(error).toMatchObject({
      code: "docker.away",
      message: expect.stringMatching(/(ca|cert|key)\.pem/),
    });
  });

  test("one that never answers is away after the limit, and leaves no connection open", async () => {
    const connections = new Set<object>();
    const server = await listen(join(directory, "silent"), (socket) => {
      connections.add(socket);
      socket.on("close", () => connections.delete(socket));
      socket.on("error", () => {}).resume();
    });
    try {
      const own = engine({ host: `unix://${directory}/silent`, answerTimeout: milliseconds(200) });
      const error = await failure(own.snapshot(signal));
      expect(error).toMatchObject({ code: "docker.away", message: expect.stringContaining("within 200ms") });
      await until("the connection is closed", () => connections.size === 0);
    } finally {
      server.close();
    }
  });

  test("one that breaks off in the middle of a pull is away, and the pull has not succeeded", async () => {
    const server = await listen(join(directory, "breaking"), (socket) => {
      socket
        .on("error", () => {})
        .on("data", (request) => {
          const isPull = request.toString().includes("/images/create");
          const body = isPull ? `{"status":"Downloading","id":"a"}\n` : `{"Version":"1","ApiVersion":"1.41"}`;
          const chunk = `${body.length.toString(16)}\r\n${body}\r\n${isPull ? "" : "0\r\n\r\n"}`;
          socket.write(
            `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`,
          );
          if (isPull) socket.end();
        });
    });
    try {
      const own = engine({ host: `unix://${directory}/breaking` });
      expect(await failure(own.pull("app:1", () => {}, seconds(10), signal))).toMatchObject({
        code: "docker.away",
      });
    } finally {
      server.close();
    }
  });

  test.skipIf(noOpenssl)(
    "is reached over TLS, by its own certificate and a trusted one only (needs openssl)",
    async () => {
      const { ca, cert, key } = certificateFor(directory, "IP:127.0.0.1", "Docker test");
      for (const [from, to] of [
        [cert, "cert.pem"],
        [key, "key.pem"],
      ] as const)
        copyFileSync(from, join(directory, to));
      const tls = {
        cert: Bun.file(cert),
        key: Bun.file(key),
        ca: Bun.file(ca),
        requestCert: true,
        rejectUnauthorized: true,
      };
      using server = versioned({ ApiVersion: "1.41" }, tls);
      const host = `tcp://127.0.0.1:${server.port}`;
      const environment = { DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: directory };
      expect(await engine({ host, environment }).info(signal)).toMatchObject({ apiVersion: "1.41" });

      expect(await failure(engine({ host }).info(signal))).toMatchObject({
        code: expect.stringMatching(/^docker\.(away|refused)$/),
      });
      const strangers = mkdtempSync(join(directory, "strangers-"));
      certificateFor(strangers, "IP:127.0.0.1", "Somebody else");
      for (const name of ["cert.pem", "key.pem"]) copyFileSync(join(directory, name), join(strangers, name));
      const distrustful = engine({ host, environment: { DOCKER_CERT_PATH: strangers } });
      expect(await failure(distrustful.info(signal))).toMatchObject({
        code: "docker.away",
        message: expect.stringMatching(/certificate/),
      });
    },
  );

  test("a call is given up at once when it is aborted", async () => {
    const server = await listen(join(directory, "deaf"), (socket) => socket.on("error", () => {}));
    try {
      const caller = new AbortController();
      const asked = failure(engine({ host: `unix://${directory}/deaf` }).snapshot(caller.signal));
      caller.abort();
      expect(await asked).toMatchObject({ code: "aborted" });
    } finally {
      server.close();
    }
  });

  test("something that is no Docker is not believed", async () => {
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => new Response("<html>hello</html>"),
    });
    const error = await failure(engine({ host: `tcp://127.0.0.1:${server.port}` }).snapshot(signal));
    expect(error).toMatchObject({
      code: "docker.refused",
      message: expect.stringContaining("not understood"),
    });
  });

  test.each([
    ["1.12", "1.10", "too old"],
    ["1.99", "1.90", "too new"],
  ])("a daemon that speaks %s down to %s is %s", async (ApiVersion, MinAPIVersion, words) => {
    using server = versioned({ ApiVersion, MinAPIVersion });
    const error = await failure(engine({ host: `tcp://127.0.0.1:${server.port}` }).snapshot(signal));
    expect(error).toMatchObject({ code: "docker.version", message: expect.stringContaining(words) });
  });

  test("a newer daemon is spoken to in the newest version known here", async () => {
    using server = versioned({ ApiVersion: "1.52", MinAPIVersion: "1.44" });
    const info = await engine({ host: `tcp://127.0.0.1:${server.port}` }).info(signal);
    expect(info).toEqual({ version: "99", apiVersion: "1.44", root: "/v1.44/info" });
  });
});

describe.skipIf(missing !== undefined)("a daemon's events (needs Docker)", () => {
  test("tell of our containers, networks and volumes, and of nobody else's", async () => {
    await using place = await createPlayground();
    const own = engine();
    const { events, end } = await listenTo(own);
    const desired = place.wants([{ name: "web" }], ["data"]);
    await place.bringUp(desired);
    await own.snapshot(signal);
    const stranger = await place.foreign(`${place.project}x`);
    await docker("start", stranger);
    await docker("pause", `${place.project}-web`);
    await docker("unpause", `${place.project}-web`);
    await docker("rename", `${place.project}-web`, `${place.project}-web_previous`);
    await docker("rm", "--force", `${place.project}-web_previous`);
    await docker("network", "rm", desired.network);
    await docker("volume", "rm", ...desired.volumes);
    const names = (): string[] =>
      events.filter(({ project }) => project === place.project).map(({ action }) => action);
    await until("the end of the volume was reported", () => names().includes("volume destroy"));
    for (const action of ["start", "pause", "unpause", "rename", "die", "destroy"])
      expect(names()).toContain(`container ${action}`);
    expect(names()).toContain("network destroy");
    expect(events.every(({ project }) => !project.endsWith("x"))).toBe(true);
    await end();
  });

  test("opening and closing them a hundred times leaves no socket open", async () => {
    const own = engine();
    const first = await listenTo(own);
    await first.end();
    const before = descriptors();
    for (let n = 0; n < 100; n++) {
      const { end } = await listenTo(own);
      await end();
    }
    await until("the sockets are closed", () => descriptors() <= before + 5);
  });
});

describe.skipIf(missing !== undefined || process.getuid?.() !== 0)(
  "a socket of root's (needs Docker and root)",
  () => {
    test("is forbidden to others, which is not the same as away", async () => {
      process.seteuid?.(65_534);
      const error = await failure(engine().snapshot(signal)).finally(() => process.seteuid?.(0));
      expect(error).toMatchObject({ code: "docker.forbidden", hint: [expect.stringContaining("usermod")] });
    });
  },
);

describe.skipIf(missing !== undefined || missingDaemon !== undefined)(
  "a daemon of its own (needs dockerd, root)",
  () => {
    let daemon: Daemon;
    beforeAll(async () => {
      daemon = await startDaemon();
    }, seconds(60));
    afterAll(() => daemon[Symbol.asyncDispose](), seconds(60));

    test("a frozen one is away within the limit, and there again when it goes on", async () => {
      const own = engine({ host: daemon.host, answerTimeout: milliseconds(500) });
      await own.snapshot(signal);
      await daemon.freeze();
      try {
        expect(await failure(own.snapshot(signal))).toMatchObject({ code: "docker.away" });
      } finally {
        daemon.thaw();
      }
      await until("it answers again", () => own.snapshot(signal).catch(() => undefined));
    });

    test("a restart ends the events and not the engine", async () => {
      const own = engine({ host: daemon.host });
      const { over } = await listenTo(own);
      const project = "restarted";
      await own.createNetwork(project, `cara-${project}`, signal);
      await daemon.stop();
      await over;
      expect(await failure(own.snapshot(signal))).toMatchObject({ code: "docker.away" });
      await daemon.start();
      const snapshot = await own.snapshot(signal);
      expect(snapshot.projects.get(project)?.network).toBeString();
      const { events, end } = await listenTo(own);
      await own.removeNetwork(snapshot.projects.get(project)?.network ?? "", signal);
      await until("the event arrives", () => events.some((event) => event.project === project));
      await end();
    });
  },
);

/** Resolves when the stream is open. */
async function listenTo(
  own: Engine,
): Promise<{ events: EngineEvent[]; over: Promise<void>; end: () => Promise<void> }> {
  const events: EngineEvent[] = [];
  const life = new AbortController();
  const over = own.events((event) => events.push(event), life.signal);
  await Promise.race([over, until("the events are open", () => events.length > 0)]);
  return {
    events,
    over,
    end: () => {
      life.abort();
      return over;
    },
  };
}

function versioned(versions: Record<string, string>, tls?: Bun.TLSOptions): Bun.Server<undefined> {
  return Bun.serve({
    ...(tls && { tls }),
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/version") return Response.json({ Version: "99", ...versions });
      return Response.json({ DockerRootDir: pathname });
    },
  });
}

function listen(path: string, onConnection: (socket: import("node:net").Socket) => void): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer(onConnection);
    server.listen(path, () => resolve(server));
  });
}

const descriptors = (): number => readdirSync("/proc/self/fd").length;

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error,
  );
