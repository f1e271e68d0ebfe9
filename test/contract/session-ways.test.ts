// Ways to the control plane on which HTTP and the session are treated alike: TLS, a private authority, a path, a proxy.
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NODE, TEST_LIMIT } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { certificateFor, noOpenssl } from "../support/certificates.ts";
import { network } from "../support/network.ts";
import { tunnelProxy } from "../support/proxy.ts";
import { agentBehind, processBehind, sessionFails, sessionOnline } from "../support/session.ts";

setDefaultTimeout(TEST_LIMIT);

const directory = mkdtempSync(join(tmpdir(), "noderax-ways-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const { ca, cert, key } = certificateFor(directory, "IP:127.0.0.1,DNS:plane.test", "Example Internal CA");
const tls = { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };

describe.concurrent("the session goes where HTTP goes", () => {
  test.skipIf(noOpenssl)(
    "by TLS of a private authority, below a path, with a namespace, and so do metrics (needs openssl)",
    async () => {
      await using wire = await network({ tls, base: "/noderax" });
      await using node = await agentBehind(wire, { settings: { api_tls_ca_file: ca } });
      await sessionOnline(node);
      await until("a sample came", () => node.sandbox.metrics(NODE).length > 0);
      expect(wire.count("/agent/metrics")).toBe(0);
      await node.runs("echo below").finishes("success");
      // Neither polling nor an upgrade from it: besides the check, all of Engine.IO is the one websocket.
      const polls = () =>
        wire.requests.filter(({ path, upgrade }) => path.startsWith("/socket.io/") && !upgrade);
      await until("the check is over", () => polls().length >= 2);
      expect(
        polls()
          .map(({ method }) => method)
          .toSorted(),
      ).toEqual(["GET", "POST"]);
      expect(wire.upgrades()).toBe(1);
    },
  );

  test.skipIf(noOpenssl)(
    "not at all where the authority is unknown, and says whose certificate it was (needs openssl)",
    async () => {
      await using wire = await network({ tls });
      await using node = await agentBehind(wire);
      const { note } = await sessionFails(node, "tls/proxy handshake failure");
      expect(note).toContain("certificate signed by an unknown authority");
      expect(note).toContain('issued by "Example Internal CA"');
      expect(note).toContain("api_tls_ca_file");
      expect(wire.requests).toEqual([]);
    },
  );

  test.skipIf(noOpenssl)("not at all where the certificate is for another name (needs openssl)", async () => {
    await using wire = await network({ tls });
    const api_url = wire.url.replace("127.0.0.1", "localhost");
    await using node = await agentBehind(wire, { settings: { api_tls_ca_file: ca, api_url } });
    const { note } = await sessionFails(node, "tls/proxy handshake failure");
    expect(note).toContain("another host name");
    expect(wire.requests).toEqual([]);
  });

  test("through the tunnels of HTTPS_PROXY, to a name that only the proxy knows", async () => {
    await using wire = await network({ tls });
    await using proxy = await tunnelProxy(() => wire.port);
    await using node = await processBehind(wire, {
      settings: { api_tls_ca_file: ca, api_url: "https://plane.test:7443", task_poll_interval: "1s" },
      env: { HTTPS_PROXY: proxy.url },
    });
    await sessionOnline(node);
    await until("a sample came", () => node.sandbox.metrics(NODE).length > 0);
    await node.runs("echo through it").finishes("success");
    expect(new Set(proxy.asked)).toEqual(new Set(["plane.test:7443"]));
    expect(wire.upgrades()).toBe(1);
  });

  test("not through a proxy that wants a password, until it wants none", async () => {
    await using wire = await network({ tls });
    let refusal: number | undefined = 407;
    await using proxy = await tunnelProxy(
      () => wire.port,
      () => refusal,
    );
    await using node = await processBehind(wire, {
      settings: { api_tls_ca_file: ca, api_url: "https://plane.test:7443", heartbeat_interval: "1s" },
      env: { https_proxy: proxy.url },
    });
    await sessionFails(node, "tls/proxy handshake failure");
    refusal = undefined;
    await sessionOnline(node);
  });
});
