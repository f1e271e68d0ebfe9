// What systemd hears: datagrams at the socket it names, and nothing where it asks for nothing.
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serviceManager, socketAddress, watchdogTime } from "../../../src/platform/notify.ts";
import { minutes } from "../../../src/lib/duration.ts";

test.skipIf(Bun.which("python3") === null)(
  "a message arrives whole, and no child inherits the socket's name (needs python3)",
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "notify-"));
    try {
      const socket = join(directory, "socket");
      const script =
        "import os,socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.bind(sys.argv[1])\n" +
        "os.write(1,b'bound')\nos.write(1,s.recv(4096))";
      await using reader = Bun.spawn(["python3", "-c", script, socket], { stdout: "pipe" });
      const lines = reader.stdout.pipeThrough(new TextDecoderStream()).getReader();
      expect((await lines.read()).value).toBe("bound");
      const env: Record<string, string | undefined> = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "60000000" };
      const manager = await serviceManager(env);
      expect(env).toEqual({});
      expect(manager.watchdog).toBe(minutes(1));
      manager.notify("READY=1\nSTATUS=works");
      expect((await lines.read()).value).toBe("READY=1\nSTATUS=works");
      await reader.exited;
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);

test("nothing is said where nobody asks", async () => {
  const manager = await serviceManager({});
  manager.notify("READY=1");
  expect(manager.watchdog).toBeUndefined();
});

test.each([
  ["60000000", "7", 7, minutes(1)],
  ["60000000", "8", 7, undefined],
  ["60000000", undefined, 7, minutes(1)],
  ["0", undefined, 7, undefined],
  ["soon", undefined, 7, undefined],
  [undefined, undefined, 7, undefined],
])("WATCHDOG_USEC=%p of process %p in process %d", (usec, pid, own, time) => {
  expect(watchdogTime(usec, pid, own)).toBe(time as never);
});

test("an abstract name begins with a zero byte; a path too long and another kind are refused", () => {
  expect(Buffer.from(socketAddress("@x") ?? []).toString("hex")).toBe("01000078");
  expect(Buffer.from(socketAddress("/x") ?? []).toString("hex")).toBe("01002f7800");
  expect(socketAddress(`/${"x".repeat(107)}`)).toBeUndefined();
  expect(socketAddress("vsock:2:1")).toBeUndefined();
});
