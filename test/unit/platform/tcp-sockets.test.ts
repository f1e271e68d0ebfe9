// The kernel's tables of TCP sockets: read from text, and from this machine with real sockets.
import { expect, test } from "bun:test";
import { type AddressInfo, connect, createServer } from "node:net";
import * as fc from "fast-check";
import { portHolder, readTcpTables, socketsAt } from "../../../src/platform/tcp-sockets.ts";

const TABLES = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 242120 1 0000000004e292ba 100 0 0 10 0
   1: 0100007F:C001 0100007F:2382 01 00000000:00000000 02:00000000 00000000  1000        0 99 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:2383 0100007F:C002 01 00000000:00000000 00:00000000 00000000  1001        0 98 1 0000000000000000 20 4 30 10 -1

  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
 101: 0000000000000000FFFF00000100007F:2382 0000000000000000FFFF00000100007F:C001 06 00000000:00000000 03:0000152D 00000000     0        0 0 3 00000000f8273f11
   1: B80D0120000000000000000001000000:C003 00000000000000000000000001000000:2382 01 00000000:00000000 00:00000000 00000000 65534        0 97 1 0
`;

test("only the sockets of the port are read, of both families", () => {
  const written = socketsAt(TABLES, 0x2382).map(
    ({ localAddress, localPort, remoteAddress, remotePort, state, uid, inode }) =>
      `${localAddress} ${localPort} > ${remoteAddress} ${remotePort}, ${state}, ${uid}, ${inode}`,
  );
  expect(written).toEqual([
    "127.0.0.1 9090 > 0.0.0.0 0, 10, 0, 242120",
    "127.0.0.1 49153 > 127.0.0.1 9090, 1, 1000, 99",
    "0:0:0:0:0:ffff:7f00:1 9090 > 0:0:0:0:0:ffff:7f00:1 49153, 6, 0, 0",
    "2001:db8:0:0:0:0:0:1 49155 > 0:0:0:0:0:0:0:1 9090, 1, 65534, 97",
  ]);
  expect(socketsAt(TABLES, 0x2384)).toEqual([]);
});

test("any text is a table of some sockets of that port, or of none", () => {
  const cut = fc.tuple(
    fc.nat(TABLES.length),
    fc.nat(20),
    fc.string({ unit: fc.constantFrom("0", "A", "F", ":", " ", "\n") }),
  );
  fc.assert(
    fc.property(fc.array(cut, { maxLength: 5 }), (cuts) => {
      const text = cuts.reduce(
        (all, [at, gone, put]) => all.slice(0, at) + put + all.slice(at + gone),
        TABLES,
      );
      for (const { localPort, remotePort } of socketsAt(text, 0x2382))
        expect([localPort, remotePort]).toContain(0x2382);
    }),
  );
});

test.each(["127.0.0.1", "::1", "::ffff:127.0.0.1"])(
  "a connection to %s is seen from its client's side, with its user, and its port's holder is this process",
  async (host) => {
    const server = createServer().listen(0, "::");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    const socket = connect(port, host);
    await new Promise((resolve) => socket.once("connect", resolve));
    const seen = socketsAt(await readTcpTables(), port).filter(
      ({ localPort, remotePort }) => localPort === socket.localPort && remotePort === port,
    );
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ state: 1, uid: process.getuid?.() });
    expect(seen[0]?.inode).not.toBe("0");
    expect(await portHolder(port)).toEndWith(`(pid ${process.pid})`);
    socket.destroy();
    server.close();
  },
);

test("a port that nobody has got has no holder", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  expect(await portHolder(port)).toBeUndefined();
});
