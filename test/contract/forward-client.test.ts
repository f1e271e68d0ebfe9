// `forward` and `logs` as processes of their own, against tunnels, problem documents and a Caravanserai server over real sockets.
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { problem } from "../../src/listener/problem.ts";
import { certificateFor, noOpenssl } from "../support/certificates.ts";
import { command } from "../support/command.ts";
import { type Listener, echo, flood, listener, running, service } from "../support/tunnel.ts";
import { settled, until } from "../support/until.ts";
import {
  beat,
  cara,
  caraSandbox,
  projectDocument,
  reaches,
  readyNode,
} from "../unit/sandbox/caravanserai-harness.ts";

/** As the kernel knows this process: "bun", "bun.exe". */
const ownName = readFileSync("/proc/self/comm", "utf8").trim();

setDefaultTimeout(150_000);

const MB = 1024 * 1024;
const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const main = join(import.meta.dir, "../../src/main.ts");
const temporary = mkdtempSync(join(tmpdir(), "forward-client-"));
afterAll(() => rmSync(temporary, { recursive: true }));

/** Started, and listening: the local ports in the order of the mappings. */
async function forward(node: string, mappings: readonly string[], more: readonly string[] = []) {
  const child = command(["forward", "app/svc", ...mappings, "--node", node, ...more]);
  await until(`it forwards: ${child.notes()}`, () => child.out().split("\n").length > mappings.length).catch(
    (error: unknown) => Promise.reject(new Error(`${String(error)}\n${child.notes()}`)),
  );
  const ports = [...child.out().matchAll(/forwarding 127\.0\.0\.1:(\d+) →/g)].map(([, port]) => Number(port));
  return { ...child, ports, port: ports[0] ?? 0 };
}

const at = ({ port }: Pick<Listener, "port">): string => `127.0.0.1:${port}`;

/** Says something, ends its side, and resolves with everything that came back. */
function talk(port: number, words: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    let answer = "";
    socket.on("data", (bytes) => (answer += bytes.toString()));
    socket.on("end", () => resolve(answer));
    socket.on("error", reject);
    socket.end(words);
  });
}

describe("forward", () => {
  test("tells where it listens, forwards, half-closes, and ends with Ctrl-C", async () => {
    await using agent = listener();
    await using oracle = await service((socket) => {
      let question = "";
      socket.on("data", (bytes) => void (question += bytes.toString()));
      socket.on("end", () => socket.end(`you asked: ${question}`));
    });
    await using child = await forward(at(agent), [`0:${oracle.port}`]);
    expect(child.out()).toBe(`forwarding 127.0.0.1:${child.port} → app/svc:${oracle.port} on ${at(agent)}\n`);
    expect(await talk(child.port, "why?")).toBe("you asked: why?");
    expect(await talk(child.port, "again?")).toBe("you asked: again?");
    await until("no tunnel is left", () => agent.tunnels.count() === 0);
    child.kill("SIGINT");
    expect(await child.ended()).toMatchObject({ code: 130, notes: "" });
  });

  test("several mappings lead to several ports", async () => {
    await using agent = listener();
    await using one = await service((socket) => void socket.end("one"));
    await using two = await service((socket) => void socket.end("two"));
    await using child = await forward(at(agent), [`0:${one.port}`, `0:${two.port}`]);
    expect(await Promise.all(child.ports.map((port) => talk(port, "")))).toEqual(["one", "two"]);
  });

  test("32 MB each way at once come through as they were", async () => {
    await using agent = listener();
    await using parrot = await service(echo);
    await using child = await forward(at(agent), [`0:${parrot.port}`]);
    const sent = createHash("sha256");
    const heard = createHash("sha256");
    const socket = connect({ port: child.port, host: "127.0.0.1", allowHalfOpen: true });
    const ended = new Promise<void>((resolve, reject) => {
      socket.on("data", (bytes) => void heard.update(bytes as Uint8Array));
      socket.on("end", resolve);
      socket.on("error", reject);
    });
    for (let part = 0; part < 512; part++) {
      const bytes = Buffer.alloc(65_536 - (part % 7), part);
      sent.update(bytes);
      if (!socket.write(bytes)) await new Promise<void>((resolve) => void socket.once("drain", resolve));
    }
    socket.end();
    await ended;
    expect(heard.digest("hex")).toBe(sent.digest("hex"));
  });

  test("a program that does not read stops the service, and then gets all of it", async () => {
    await using agent = listener();
    const bytes = { written: 0 };
    const total = 128 * MB;
    await using source = await service(flood(bytes, total));
    await using child = await forward(at(agent), [`0:${source.port}`]);
    let got = 0;
    const socket = connect({ port: child.port, host: "127.0.0.1", allowHalfOpen: true });
    socket.on("data", (chunk) => void (got += chunk.length)).pause();
    const written = await settled(() => bytes.written);
    // What three connections' kernel buffers hold, which is the machine's affair, and a read at each of the two ends.
    expect(written).toBeLessThan(96 * MB);
    socket.resume();
    await until("it has all of it", () => got === total);
    socket.end();
  });

  test("a program that breaks off takes its tunnel along, a service that resets its program", async () => {
    await using agent = listener();
    let accepted: Socket | undefined;
    await using parrot = await service(
      (socket) => void (accepted = socket.on("data", () => {})),
      undefined,
      false,
    );
    await using child = await forward(at(agent), [`0:${parrot.port}`]);
    const first = connect(child.port, "127.0.0.1");
    await until("it is through", () => accepted !== undefined);
    first.resetAndDestroy();
    await until("no tunnel is left", () => agent.tunnels.count() === 0);

    accepted = undefined;
    const second = connect(child.port, "127.0.0.1");
    const closed = new Promise<boolean>((resolve) => {
      second.on("error", () => {});
      second.on("close", resolve);
    });
    await until("it is through", () => accepted !== undefined);
    (accepted as Socket | undefined)?.resetAndDestroy();
    await closed;
    await until("it is reported", () => child.notes().includes("the service reset the connection"));
  });

  test("a failure is reported once, not for every connection", async () => {
    await using agent = listener();
    const gone = await service(() => {});
    await gone[Symbol.asyncDispose]();
    await using child = await forward(at(agent), [`0:${gone.port}`]);
    for (let i = 0; i < 3; i++) await talk(child.port, "").catch(() => {});
    await until("it is reported", () => child.notes().includes("\n"));
    expect(child.notes()).toBe(
      `${at(agent)}: cannot connect to app/svc:${gone.port}: connection refused: nothing listens on that port in the container\n`,
    );
  });

  test.each([
    ["knows no such service", 404, 1],
    ["does not run it", 503, 4],
    ["wants a token", 401, 5],
    ["lets this address in nowhere", 403, 5],
    ["has heard too many tries", 429, 5],
  ])("an agent that %s is reported at the start: %i is exit %i", async (_, status, code) => {
    await using agent = listener();
    agent.answers(() => problem(status, "No", `the reason for ${status}`));
    const { notes, ...ended } = await command(["forward", "app/svc", "80", "--node", at(agent)]).ended();
    expect(ended).toEqual({ code, out: "" });
    expect(notes).toStartWith(`error: ${at(agent)}: the reason for ${status}\n`);
    if (status === 401) expect(notes).toContain("--token-file");
  });

  test("an address where nothing listens is not reachable, one of something else no agent", async () => {
    const gone = await service(() => {});
    await gone[Symbol.asyncDispose]();
    const nobody = await command(["forward", "app/svc", "80", "--node", at(gone)]).ended();
    expect([nobody.code, nobody.out]).toEqual([4, ""]);
    expect(nobody.notes).toContain("connection refused");
    await using agent = listener();
    agent.answers(() => new Response("<html>"));
    const other = await command(["forward", "app/svc", "80", "--node", at(agent)]).ended();
    expect([other.code, other.notes]).toEqual([4, expect.stringContaining("does not answer like an agent")]);
  });

  test("a local port in use is reported with the next step", async () => {
    await using agent = listener();
    await using taken = await service(() => {});
    const { code, notes } = await command([
      "forward",
      "app/svc",
      `${taken.port}`,
      "--node",
      at(agent),
    ]).ended();
    expect(code).toBe(1);
    expect(notes).toContain(
      `cannot listen on 127.0.0.1:${taken.port}: ${ownName} (pid ${process.pid}) listens there`,
    );
    expect(notes).toContain(`0:${taken.port}`);
  });

  test("an agent that knows no half-close is spoken to without", async () => {
    // As the Go agent does it: a handshake that is none is a bad request, and no subprotocol is chosen.
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request, server) =>
        server.upgrade(request, { headers: { "sec-websocket-protocol": "" } })
          ? undefined
          : new Response("Bad Request\n", { status: 400 }),
      websocket: {
        message: (socket, message) => void socket.send(message),
      },
    });
    await using child = await forward(`127.0.0.1:${server.port}`, ["0:80"]);
    const socket = connect({ port: child.port, host: "127.0.0.1", allowHalfOpen: true });
    const answer = new Promise<string>((resolve) => socket.once("data", (bytes) => resolve(String(bytes))));
    socket.write("hello");
    expect(await answer).toBe("hello");
    const ended = new Promise((resolve) => socket.once("end", resolve));
    socket.end();
    await ended;
  });

  test("a token is read from a file or the environment, sent, and never printed", async () => {
    await using agent = listener();
    const seen: (string | null)[] = [];
    agent.answers((request) => {
      seen.push(request.headers.get("authorization"));
      return problem(403, "Forbidden", "no");
    });
    const file = join(temporary, "token");
    writeFileSync(file, "a-token-from-a-file\n");
    const args = ["forward", "app/svc", "80", "--node", at(agent)];
    const one = await command([...args, "--token-file", file]).ended();
    const two = await command(args, { NODERAX_LISTEN_TOKEN: "a-token-of-the-environment" }).ended();
    expect(seen).toEqual(["Bearer a-token-from-a-file", "Bearer a-token-of-the-environment"]);
    expect(one.notes + two.notes).not.toContain("a-token");
    writeFileSync(file, "two\nlines\n");
    const wrong = await command([...args, "--token-file", file]).ended();
    expect([wrong.code, wrong.notes]).toEqual([2, expect.stringContaining("contains no token")]);
    expect((await command([...args, "--listen-token", "a-token-in-argv-0"]).ended()).code).toBe(2);
  });

  test.skipIf(noOpenssl)(
    "an agent with TLS is trusted by --ca, and by nothing less (needs openssl)",
    async () => {
      const files = certificateFor(temporary, "IP:127.0.0.1", "Example Internal CA");
      const [cert, key] = [files.cert, files.key].map((path) => readFileSync(path, "utf8"));
      await using agent = listener({ tls: { cert: cert ?? "", key: key ?? "" } });
      await using parrot = await service(echo);
      const node = `https://${at(agent)}`;
      const refused = await command(["forward", "app/svc", `0:${parrot.port}`, "--node", node]).ended();
      expect([refused.code, refused.notes]).toEqual([4, expect.stringContaining("unknown authority")]);
      expect(refused.notes).toContain('"Example Internal CA"');
      await using child = await forward(node, [`0:${parrot.port}`], ["--ca", files.ca]);
      expect(await talk(child.port, "over TLS")).toBe("over TLS");
    },
  );

  test("the server tells where the project is, and again when it has moved", async () => {
    await using agent = listener();
    await using banner = await service((socket) => void socket.end("here"));
    const sandbox = await caraSandbox();
    try {
      const network = (port: number): object => ({
        state: "Ready",
        network: { ip: "127.0.0.1", mode: "Direct", agentPort: port },
      });
      await readyNode(sandbox, "n1");
      await cara(sandbox, "POST /api/v1/projects", projectDocument("app"));
      await reaches(sandbox, "app", "Scheduled");
      const args = ["forward", "app/svc", `0:${banner.port}`, "--server", sandbox.url];
      const addressless = await command(args).ended();
      expect([addressless.code, addressless.notes]).toEqual([
        1,
        expect.stringContaining("has reported no address"),
      ]);
      await beat(sandbox, "n1", network(agent.port));
      await using child = command(args);
      await until("it forwards", () => child.out().includes("\n"));
      expect(child.out()).toEndWith(`→ app/svc:${banner.port} on n1\n`);
      const port = Number(/:(\d+) →/.exec(child.out())?.[1]);
      expect(await talk(port, "")).toBe("here");

      await using next = listener();
      next.serves("app/svc", running(["127.0.0.1"]));
      agent.serves("app/svc", undefined);
      await beat(sandbox, "n1", network(next.port));
      let answer = "";
      for (const end = performance.now() + 50_000; answer !== "here" && performance.now() < end;)
        answer = await talk(port, "").catch(() => "");
      expect(answer).toBe("here");
      expect(child.notes()).toContain("app/svc is on n1 now\n");

      const unknown = await command(["forward", "other/web", "80", "--server", sandbox.url]).ended();
      expect([unknown.code, unknown.notes]).toEqual([1, expect.stringContaining("has no project other")]);
    } finally {
      await sandbox.stop();
    }
  });

  test("without a node or a server it says which flags name them", async () => {
    const { code, notes } = await command(["forward", "app/svc", "80"]).ended();
    expect(code).toBe(2);
    expect(notes).toContain("--server");
    expect(notes).toContain("--node");
  });
});

describe("logs", () => {
  test("passes its flags on, and prints the bytes unchanged", async () => {
    await using agent = listener();
    let asked = "";
    const bytes = Uint8Array.from({ length: 300_000 }, (_, index) => index % 256);
    agent.answers((request) => {
      asked = request.url.slice(new URL(request.url).origin.length);
      return new Response(bytes);
    });
    const child = Bun.spawn(
      [process.execPath, main, "logs", "app/svc", "--tail", "5", "-t", "--node", at(agent)],
      { cwd: temporary, env: { HOME: temporary, TMPDIR: temporary }, stdout: "pipe" },
    );
    expect(Buffer.from(await child.stdout.bytes()).equals(Buffer.from(bytes))).toBeTrue();
    expect(await child.exited).toBe(0);
    expect(asked).toBe("/api/v1/logs/app/svc?tail=5&timestamps=true");
  });

  test("follows until Ctrl-C, and ends quietly", async () => {
    await using agent = listener();
    let left = false;
    agent.answers(
      () =>
        new Response(
          new ReadableStream({
            start: (controller) => controller.enqueue(new TextEncoder().encode("a line\n")),
            cancel: () => void (left = true),
          }),
        ),
    );
    await using child = command(["logs", "app/svc", "-f", "--node", at(agent)]);
    await until("the line came", () => child.out() === "a line\n");
    child.kill("SIGINT");
    expect(await child.ended()).toEqual({ code: 130, out: "a line\n", notes: "" });
    await until("the agent is rid of it", () => left);
  });

  test("a reader that has seen enough is no error", async () => {
    await using agent = listener();
    let lines = 0;
    agent.answers(
      () =>
        new Response(
          new ReadableStream({
            // Who reads on in spite of it gets 64 MB, and then nothing more, not even the end.
            pull(controller) {
              if (lines++ < 12_000) controller.enqueue(Buffer.from("line\n".repeat(1_000)));
              return lines > 12_000 ? new Promise(() => {}) : undefined;
            },
          }),
        ),
    );
    const line = `${process.execPath} ${main} logs app/svc -f --node ${at(agent)} | head -n 2; echo $\{PIPESTATUS[0]}`;
    const shell = Bun.spawn(["bash", "-c", line], {
      cwd: temporary,
      env: { HOME: temporary, TMPDIR: temporary, PATH: process.env["PATH"] ?? "" },
      stdout: "pipe",
      stderr: "pipe",
    });
    expect(await shell.stdout.text()).toBe("line\nline\n141\n");
    expect(await shell.stderr.text()).toBe("");
  });

  test("a token that crosses the network in clear text is warned of, and still sent", async () => {
    const address = Object.values(networkInterfaces())
      .flat()
      .find((one) => one?.family === "IPv4" && !one.internal)?.address;
    let seen: string | null = null;
    using server = Bun.serve({
      port: 0,
      fetch(request) {
        seen = request.headers.get("authorization");
        return new Response("a line\n");
      },
    });
    const token = "a-token-of-the-environment";
    const ask = (host: string) =>
      command(["logs", "app/svc", "--node", `${host}:${server.port}`], {
        NODERAX_LISTEN_TOKEN: token,
      }).ended();
    expect((await ask("127.0.0.1")).notes).toBe("");
    // A machine without a network has no other address.
    if (address === undefined) return;
    const { out, notes } = await ask(address);
    expect([out, seen]).toEqual(["a line\n", `Bearer ${token}`]);
    expect(notes).toContain("in clear text");
    expect(notes).not.toContain(token);
  });

  test("a refusal is worded as the agent has it", async () => {
    await using agent = listener();
    agent.answers(() => problem(409, "Conflict", "app/svc does not run (exited): nothing to follow"));
    const { code, out, notes } = await command(["logs", "app/svc", "-f", "--node", at(agent)]).ended();
    expect([code, out]).toEqual([1, ""]);
    expect(notes).toBe(`error: ${at(agent)}: app/svc does not run (exited): nothing to follow\n`);
  });

  test("an agent that is lost in the middle is an error", async () => {
    const lost = Promise.withResolvers<void>();
    await using broken = await service((socket) => {
      socket.on("data", (bytes) => {
        socket.write(`${CHUNKED}5\r\nhalf\n\r\n`);
        if (bytes.toString().includes("tail=0")) socket.end("0\r\n\r\n");
        else void lost.promise.then(() => socket.end());
      });
    });
    await using child = command(["logs", "app/svc", "-f", "--node", at(broken)]);
    await child.says("half\n");
    lost.resolve();
    const { code, out, notes } = await child.ended();
    expect([code, out]).toEqual([4, "half\n"]);
    expect(notes).toContain("was lost");
  });

  test("an agent that is lost in the middle of each answer is an error of the connection, whenever it is noticed", async () => {
    await using broken = await service((socket) => {
      socket.on("data", () => socket.end(`${CHUNKED}5\r\nhalf\n\r\n`));
    });
    const { code, notes } = await command(["logs", "app/svc", "-f", "--node", at(broken)]).ended();
    expect(notes).toStartWith("error: ");
    expect(notes).toContain(at(broken));
    expect(code).toBe(4);
  });
});
