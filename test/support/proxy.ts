// An HTTP proxy that digs tunnels: every one of them leads to the same port, whatever name was asked for.
import { type AddressInfo, type Socket, connect, createServer } from "node:net";
import { join } from "node:path";

export interface Proxy extends AsyncDisposable {
  readonly url: string;
  /** What tunnels were asked for: "plane.test:7443". */
  readonly asked: readonly string[];
}

/** Runs a script in a process of its own, since proxies are read from its environment. Resolves with what it prints. */
export async function printedBy(script: string, env: Record<string, string>, url: string): Promise<string> {
  const child = Bun.spawn([process.execPath, "-e", script, url], {
    cwd: join(import.meta.dir, "../.."),
    env: { PATH: "/usr/bin:/bin", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const output = await child.stdout.text();
  await child.exited;
  return output.trim();
}

/** `refusal` is the status it answers with instead. */
export async function tunnelProxy(target: () => number, refusal?: () => number | undefined): Promise<Proxy> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    sockets.add(near);
    near.on("error", () => {}).on("close", () => sockets.delete(near));
    near.once("data", (bytes: Buffer) => {
      asked.push(/^CONNECT (\S+) /.exec(bytes.toString("latin1"))?.[1] ?? "no tunnel");
      const status = refusal?.();
      if (status !== undefined) return near.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
      const far = connect(target(), "127.0.0.1");
      far.on("error", () => near.destroy()).on("close", () => near.destroy());
      near.on("close", () => far.destroy());
      near.write("HTTP/1.1 200 Connection established\r\n\r\n");
      return near.pipe(far).pipe(near);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
