// A real registry on loopback, Debian's docker-registry, behind a gate that can hold back, cut short and spoil what is pulled.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seconds } from "../../src/lib/duration.ts";
import { docker, dockerIn, testImage, until } from "./docker.ts";

export const missingRegistry: string | undefined =
  Bun.which("docker-registry") === null ? "docker-registry" : undefined;

/** What the gate does with the layers of images. */
export type Fault =
  | "none"
  /** Begins, and never goes on. */
  | "stall"
  /** Other bytes than were pushed. */
  | "spoil"
  /** A little every 20 ms. */
  | "trickle";

export interface Registry extends AsyncDisposable {
  /** "127.0.0.1:40123": the gate, in front of the registry. */
  readonly host: string;
  fault: Fault;
  /** How many requests for manifests came by, HEAD or GET. */
  manifests(): number;
  /** Puts an image there under this name ("app:1"), whose one layer is new and has so many bytes; resolves with its reference. */
  push(name: string, bytes?: number): Promise<string>;
}

export interface Login {
  readonly username: string;
  readonly password: string;
}

/** With `login`, nobody else is let in. */
export async function startRegistry(login?: Login): Promise<Registry> {
  const directory = mkdtempSync(join(tmpdir(), "noderax-registry-"));
  const port = await freePort();
  let auth = "";
  if (login !== undefined) {
    const { username, password } = login;
    const hash = await Bun.password.hash(password, { algorithm: "bcrypt", cost: 4 });
    // Go's bcrypt and Apache's agree on this prefix.
    writeFileSync(join(directory, "htpasswd"), `${username}:${hash.replace("$2b$", "$2y$")}\n`);
    auth = `auth: { htpasswd: { realm: test, path: ${directory}/htpasswd } }\n`;
  }
  writeFileSync(
    join(directory, "config.yml"),
    `version: 0.1\nlog: { level: error }\nstorage: { filesystem: { rootdirectory: ${directory}/data } }\n` +
      `http: { addr: "127.0.0.1:${port}" }\n${auth}`,
  );
  const child = Bun.spawn(["docker-registry", "serve", join(directory, "config.yml")], {
    env: { PATH: process.env["PATH"] },
    stdio: ["ignore", "ignore", "ignore"],
  });
  const upstream = `http://127.0.0.1:${port}`;
  await until("the registry answers", () =>
    fetch(`${upstream}/v2/`).then(
      () => true,
      () => false,
    ),
  );

  let manifests = 0;
  const pushed: string[] = [];
  const gate = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 0,
    async fetch(request) {
      const url = new URL(request.url);
      if (url.pathname.includes("/manifests/")) manifests++;
      const isLayer = request.method === "GET" && url.pathname.includes("/blobs/sha256:");
      // The registry names itself in locations and challenges by the Host it was asked for.
      const answer = await fetch(`${upstream}${url.pathname}${url.search}`, {
        method: request.method,
        headers: request.headers,
        body: request.body,
        redirect: "manual",
        decompress: false,
      });
      if (!isLayer || registry.fault === "none" || !answer.ok || isConfig(answer)) return answer;
      const bytes = new Uint8Array(await answer.arrayBuffer());
      return new Response(faulty(bytes, registry.fault), { headers: answer.headers });
    },
  });
  const host = `127.0.0.1:${gate.port}`;

  const registry: Registry = {
    host,
    fault: "none",
    manifests: () => manifests,
    async push(name, bytes = 1_000) {
      const reference = `${host}/${name}`;
      // No two have a layer in common: Docker would take it from the one that is there.
      const id = await docker(
        "create",
        await testImage(),
        "sh",
        "-c",
        `head -c ${bytes} /dev/urandom >/noise`,
      );
      try {
        await docker("start", "--attach", id);
        await docker("commit", "--change", STAYS, id, reference);
        const config = { auths: login === undefined ? {} : { [host]: { auth: basic(login) } } };
        writeFileSync(join(directory, "config.json"), JSON.stringify(config));
        await dockerIn({ DOCKER_CONFIG: directory }, "push", "--quiet", reference);
        await docker("image", "rm", reference);
        pushed.push(reference);
      } finally {
        await docker("rm", "--force", id);
      }
      return reference;
    },
    async [Symbol.asyncDispose]() {
      for (const reference of pushed) await docker("image", "rm", "--force", reference).catch(() => {});
      await gate.stop(true);
      child.kill();
      await child.exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return registry;
}

/** What is pulled can be run: it stays until it is told to go. */
const STAYS = `CMD ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]`;

export const basic = ({ username, password }: Login): string =>
  Buffer.from(`${username}:${password}`).toString("base64");

/** The description of an image is a blob too, a small one of JSON. */
const isConfig = (answer: Response): boolean => Number(answer.headers.get("content-length")) < 20_000;

function faulty(bytes: Uint8Array, fault: Fault): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      const step = fault === "trickle" ? 16_384 : 65_536;
      if (fault === "trickle") await Bun.sleep(20);
      if (fault === "stall" && at > 0) await Bun.sleep(seconds(3_600));
      const part = bytes.slice(at, at + step);
      if (fault === "spoil") part.reverse();
      at += step;
      if (part.length === 0) controller.close();
      else controller.enqueue(part);
    },
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
