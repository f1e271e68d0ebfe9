// HTTPS_PROXY and NO_PROXY are honoured, in a process of their own because they are read from its environment.
import { expect, test } from "bun:test";
import { type Socket, connect } from "node:net";
import { join } from "node:path";
import { printedBy } from "../../support/proxy.ts";
import { serve, serveBytes } from "./servers.ts";

const http = join(import.meta.dir, "../../../src/control/http.ts");
const script = `
  import * as v from "valibot";
  const { createHttp } = await import(${JSON.stringify(http)});
  const call = { method: "GET", path: "/", answer: v.unknown(), timeout: 5000, idempotent: false };
  createHttp({ baseUrl: process.argv[1], authorities: () => "" })(call, new AbortController().signal).then(
    (answer) => console.log(JSON.stringify(answer)),
    (error) => console.log(error.code),
  );
`;

const callFrom = (env: Record<string, string>, url: string): Promise<string> => printedBy(script, env, url);

/** A proxy that notes what it is asked for, and leads every tunnel and request to `target`. */
async function proxyTo(target: string) {
  const asked: string[] = [];
  const { port } = new URL(target);
  const tunnels = new WeakSet<Socket>();
  const server = await serveBytes((socket, request) => {
    if (tunnels.has(socket)) return;
    tunnels.add(socket);
    asked.push(request.split("\r\n")[0] ?? "");
    const onward = connect(Number(port), "127.0.0.1");
    onward.on("error", () => socket.destroy());
    if (request.startsWith("CONNECT")) socket.write("HTTP/1.1 200 OK\r\n\r\n");
    else onward.write(request, "latin1");
    socket.pipe(onward).pipe(socket);
  });
  return { ...server, asked };
}

test("a plane behind HTTPS_PROXY is asked for through a tunnel", async () => {
  await using plane = serve(() => Response.json({ from: "plane" }));
  await using proxy = await proxyTo(plane.url);
  // The tunnel is what counts; its other end speaks no TLS, and that is what is told.
  expect(await callFrom({ HTTPS_PROXY: proxy.url }, "https://plane.invalid:7443")).toMatch(/^(net|tls)\./);
  expect(proxy.asked).toEqual(["CONNECT plane.invalid:7443 HTTP/1.1"]);
});

test("a plane behind HTTP_PROXY is asked for through it", async () => {
  await using plane = serve(() => Response.json({ from: "plane" }));
  await using proxy = await proxyTo(plane.url);
  expect(await callFrom({ HTTP_PROXY: proxy.url }, "http://plane.invalid/")).toBe('{"from":"plane"}');
  expect(proxy.asked).toEqual(["GET http://plane.invalid/ HTTP/1.1"]);
});

test("a plane that NO_PROXY names is reached directly", async () => {
  await using plane = serve(() => Response.json({ from: "plane" }));
  await using proxy = await proxyTo(plane.url);
  const env = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url, NO_PROXY: "example.com,127.0.0.1" };
  expect(await callFrom(env, plane.url)).toBe('{"from":"plane"}');
  expect(proxy.asked).toEqual([]);
});
