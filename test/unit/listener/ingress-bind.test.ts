// A listener whose address is not available reports it with the setting, and listens once it is; on real ports.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createPlain } from "node:net";
import { LoopRegistry } from "../../../src/lib/loop.ts";
import { formatHostPort, parseListenAddress } from "../../../src/lib/address.ts";
import { type Bound, keepBound } from "../../../src/listener/bind.ts";
import { createLog } from "../../../src/platform/log.ts";
import { until } from "../../support/until.ts";

/** As the kernel knows this process: "bun", "bun.exe". */
const ownName = readFileSync("/proc/self/comm", "utf8").trim();

test.each([
  [":8081", { hosts: ["::", "0.0.0.0"], port: 8_081 }],
  ["127.0.0.1:8081", { hosts: ["127.0.0.1"], port: 8_081 }],
  ["[::1]:8081", { hosts: ["::1"], port: 8_081 }],
  ["localhost:0", { hosts: ["localhost"], port: 0 }],
  ["8081", undefined],
  ["", undefined],
  [":65536", undefined],
  ["::1:8081", undefined],
  ["[::g]:8081", undefined],
  ["[1.2.3.4]:1", undefined],
  ["a b:1", undefined],
])("%j is %j", (text, address) => {
  expect(parseListenAddress(text)).toEqual(address);
});

test("an IPv6 address is written in brackets", () => {
  expect(formatHostPort("::", 1)).toBe("[::]:1");
  expect(formatHostPort("0.0.0.0", 1)).toBe("0.0.0.0:1");
});

const listening = (host: string, port: number): Promise<Bound> =>
  new Promise((resolve, reject) => {
    const server = createServer((_, response) => void response.end("here"));
    server.once("error", reject);
    server.listen({ host, port }, () =>
      resolve({
        port: (server.address() as AddressInfo).port,
        close: () => {
          server.closeAllConnections();
          server.close();
        },
      }),
    );
  });

function start(value: string, listen = listening) {
  const stopping = new AbortController();
  const registry = new LoopRegistry();
  const lines: string[] = [];
  const log = createLog({ level: "debug", format: "human", write: (line) => void lines.push(line) });
  const address = parseListenAddress(value);
  const binding = keepBound(
    { name: "ingress", setting: "proxy_listen_addr", value, address, listen, registry, log },
    stopping.signal,
  );
  return { binding, registry, lines, stop: () => stopping.abort() };
}

test("a taken port is named with its setting, once in the log, and is taken when it is free", async () => {
  const holder = createPlain();
  await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
  const { port } = holder.address() as AddressInfo;
  const { binding, registry, lines, stop } = start(`127.0.0.1:${port}`);
  const record = registry.all()[0];
  await until("it was tried twice", () => (record?.consecutiveFailures ?? 0) >= 2);
  const message = `proxy_listen_addr 127.0.0.1:${port}: port ${port} is in use by ${ownName} (pid ${process.pid})`;
  expect(binding.trouble()).toBe(message);
  expect(binding.address()).toBeUndefined();
  expect(record?.lastError?.message).toBe(message);
  expect(lines).toEqual([expect.stringContaining(message)]);
  await new Promise((resolve) => holder.close(resolve));
  await until("it listens", () => binding.address() !== undefined);
  expect(binding.trouble()).toBeUndefined();
  expect(record).toMatchObject({ consecutiveFailures: 0, note: `listening on 127.0.0.1:${port}` });
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe("here");
  stop();
  await binding.done;
  expect(binding.address()).toBeUndefined();
  expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow();
});

test("without a host it listens on IPv4, and on IPv6 where there is one", async () => {
  const { binding, stop } = start(":0");
  await until("it listens", () => binding.address() !== undefined);
  const port = binding.address()?.split(":").at(-1);
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe("here");
  stop();
  await binding.done;
});

test("on a machine without IPv6 it listens on IPv4", async () => {
  const { binding, stop } = start(":0", (host, port) =>
    host.includes(":")
      ? Promise.reject(Object.assign(new Error("no"), { code: "EAFNOSUPPORT" }))
      : listening(host, port),
  );
  await until("it listens", () => binding.address() !== undefined);
  expect(binding.address()).toStartWith("0.0.0.0:");
  stop();
  await binding.done;
});

test.each([
  ["203.0.113.7:8081", undefined, "203.0.113.7 is not an address of this machine"],
  ["127.0.0.1:80", "EACCES", "port 80 needs root, or the capability CAP_NET_BIND_SERVICE"],
  ["127.0.0.1:80", "EMFILE", "too many"],
  ["8081", undefined, "this is not a listen address (:8081, 127.0.0.1:8081, [::1]:8081)"],
])("%s (%s): %s", async (value, code, words) => {
  const failing = (): Promise<Bound> => Promise.reject(Object.assign(new Error("too many"), { code }));
  const { binding, stop } = start(value, code === undefined ? listening : failing);
  await until("it was tried", () => binding.trouble() !== undefined);
  expect(binding.trouble()).toBe(`proxy_listen_addr ${value}: ${words}`);
  stop();
  await binding.done;
});
