// The engine on a real Docker daemon over TCP: plain, and over TLS with certificates of both sides.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, type Server, type Socket, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { seconds } from "../../src/lib/duration.ts";
import type { Engine, EngineEvent } from "../../src/projects/plan/engine.ts";
import { type Authority, certificateFor } from "../support/certificates.ts";
import { createPlayground, docker, dockerHost, engine, missing, until } from "../support/docker.ts";

setDefaultTimeout(150_000);

const signal = new AbortController().signal;
const noSocket = dockerHost.startsWith("unix://") ? undefined : "a Docker daemon on a Unix socket";

describe.skipIf(missing !== undefined || noSocket !== undefined)(
  "a daemon over TCP (needs Docker on a Unix socket)",
  () => {
    let directory: string;
    let ours: Authority;
    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), "noderax-tls-"));
      ours = certificateFor(directory, "IP:127.0.0.1", "Docker test");
    });
    afterAll(() => rmSync(directory, { recursive: true }));

    /** What DOCKER_CERT_PATH names: a certificate of `from`, and trust in `authority`. */
    function certificates(name: string, from: Authority, authority: Authority): string {
      const path = join(directory, name);
      mkdirSync(path);
      copyFileSync(authority.ca, join(path, "ca.pem"));
      copyFileSync(from.cert, join(path, "cert.pem"));
      copyFileSync(from.key, join(path, "key.pem"));
      return path;
    }

    function stranger(): Authority {
      return certificateFor(mkdtempSync(join(directory, "stranger-")), "IP:127.0.0.1", "Somebody else");
    }

    /** As `dockerd --tlsverify`: only who shows a certificate of our authority comes through. */
    const overTls = (): Promise<Listening> => {
      const [cert, key, ca] = [ours.cert, ours.key, ours.ca].map((path) => readFileSync(path));
      const options = {
        cert,
        key,
        ca,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: "TLSv1.2",
      } as const;
      return listening((pass) => createTlsServer(options, pass));
    };

    async function works(own: Engine): Promise<void> {
      await using place = await createPlayground(own);
      const events: EngineEvent[] = [];
      const life = new AbortController();
      const over = own.events((event) => events.push(event), life.signal);
      await until("the events are open", () => events.length > 0);
      const desired = place.wants([{ name: "web" }], ["data"]);
      await place.bringUp(desired);
      const seen = (await own.snapshot(signal)).projects.get(place.project);
      expect(seen?.containers.map(({ state }) => state)).toEqual(["running"]);
      await until("the start was reported", () =>
        events.some(({ project, action }) => project === place.project && action === "container start"),
      );
      await own.stopContainer(`${place.project}-web`, seconds(10), signal);
      expect(await docker("inspect", "--format", "{{.State.Status}}", `${place.project}-web`)).toBe("exited");
      life.abort();
      await over;
    }

    test("is worked with over tcp://, its events included", async () => {
      await using server = await listening((pass) => createServer(pass));
      await works(engine({ host: `tcp://127.0.0.1:${server.port}` }));
    });

    test("is worked with over TLS, with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH", async () => {
      await using server = await overTls();
      const environment = { DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: certificates("good", ours, ours) };
      await works(engine({ host: `tcp://127.0.0.1:${server.port}`, environment }));
      expect(server.passed()).toBeGreaterThan(0);
    });

    test("is not spoken to when its certificate is of nobody we trust", async () => {
      await using server = await overTls();
      const environment = { DOCKER_CERT_PATH: certificates("distrustful", ours, stranger()) };
      const own = engine({ host: `tcp://127.0.0.1:${server.port}`, environment });
      expect(await failure(own.info(signal))).toMatchObject({
        code: "docker.away",
        message: expect.stringMatching(/certificate/),
      });
      expect(server.passed()).toBe(0);
    });

    test("refuses a certificate of nobody it trusts, and none at all, and is away then", async () => {
      await using server = await overTls();
      const host = `tcp://127.0.0.1:${server.port}`;
      const environment = { DOCKER_CERT_PATH: certificates("unknown", stranger(), ours) };
      expect(await failure(engine({ host, environment }).info(signal))).toMatchObject({
        code: "docker.away",
      });
      expect(await failure(engine({ host }).info(signal))).toMatchObject({
        code: expect.stringMatching(/^docker\.(away|refused)$/),
      });
      expect(server.passed()).toBe(0);
    });
  },
);

interface Listening extends AsyncDisposable {
  readonly port: number;
  /** Connections that were let through to the daemon. */
  passed(): number;
}

/** On a port of its own; what `serve` lets in is passed on to the daemon's socket. */
async function listening(serve: (pass: (client: Socket) => void) => Server): Promise<Listening> {
  const open = new Set<Socket>();
  let passed = 0;
  const server = serve((client) => {
    passed++;
    const upstream = connect(dockerHost.slice("unix://".length));
    client.pipe(upstream).pipe(client);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(one);
      one
        .on("error", () => other.destroy())
        .on("close", () => {
          open.delete(one);
          other.destroy();
        });
    }
  });
  // Whom it does not let in.
  server.on("tlsClientError", () => {});
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  return {
    port: (server.address() as AddressInfo).port,
    passed: () => passed,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error,
  );
