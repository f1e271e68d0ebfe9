// An agent's session and nothing else, which reconnects without a pause: run by realtime.bench.ts in a process of its own.
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import { LoopRegistry, Wake } from "../../src/lib/loop.ts";
import { createAuthState } from "../../src/identity/auth-state.ts";
import { silent } from "../../src/platform/log.ts";
import { endpointCheck } from "../../src/realtime/check.ts";
import { createSession } from "../../src/realtime/session.ts";
import { socketIo } from "../../src/realtime/transport.ts";

const endpoint = {
  apiUrl: process.argv[2] ?? "",
  path: "/socket.io/",
  namespace: "/agent-realtime",
  authorities: () => "",
};
const session = createSession({
  open: socketIo(endpoint, seconds(5)),
  check: endpointCheck(endpoint, seconds(5)),
  identity: { nodeId: crypto.randomUUID(), agentToken: "token-of-the-bench-".repeat(3) },
  host: { platformVersion: "Bench Linux 1", kernelVersion: "6.0" },
  rootAccess: { desire() {}, report: () => ({ appliedProfile: "off" as const, lastError: null }) },
  location: { due: () => undefined, accepted() {}, failed() {} },
  auth: createAuthState(() => Promise.resolve(), silent),
  wake: new Wake(),
  registry: new LoopRegistry(),
  log: silent,
  // All of the pause is random, and the random number is always 0.
  settings: { realtime_ping_interval: seconds(10), request_timeout: seconds(5), realtime_backoff_jitter: 1 },
  random: () => 0,
});
// So that only what is held counts, not what nobody has collected yet.
setInterval(() => Bun.gc(true), milliseconds(200));
await session.run(new AbortController().signal);
