// A control plane as thin as the wire allows, so that what is measured is the agent: Engine.IO and Socket.IO by hand, no
// database, no waiting. It lets everybody in and holds every claim.
import { type Duration, milliseconds, seconds } from "../../src/lib/duration.ts";
import { type RunningBinary } from "../support/binary.ts";
import { type Machine, until } from "../support/dev.ts";

type Body = Readonly<Record<string, unknown>>;
type Wire = Bun.ServerWebSocket;

/** One session of an agent, let in. */
export interface Link {
  readonly nodeId: string;
  send(event: string, body: object): void;
  /** The network breaks: no goodbye. */
  cut(): void;
}

export interface Hearer {
  /** An agent was let in; `at` is when. */
  online?(link: Link, at: number): void;
  /** Any event but `agent.auth`. Returns the ack, now or later; undefined is `{ ok: true }`. */
  hear?(link: Link, event: string, body: Body): object | undefined | Promise<object | undefined>;
}

export interface Plane extends Disposable {
  readonly url: string;
  /** Cuts every connection and refuses new ones, until it comes back on the same port. */
  goAway(): void;
  /** Returns when it answers again. */
  comeBack(): number;
}

const NAMESPACE = "/agent-realtime";
const HANDSHAKE = `0${JSON.stringify({ sid: "bench", upgrades: [], pingInterval: seconds(300), pingTimeout: seconds(20), maxPayload: 1_000_000 })}`;
const EVENT = new RegExp(`^42${NAMESPACE},(\\d+)(?=\\[)`);

export function plane(hearer: Hearer): Plane {
  const held = new Set<() => void>();
  const links = new Map<Wire, Link>();
  let server = serve(0);
  const { port } = server;

  function serve(on: number) {
    return Bun.serve({
      port: on,
      hostname: "127.0.0.1",
      idleTimeout: 120,
      async fetch(request, self) {
        const { pathname, searchParams } = new URL(request.url);
        if (pathname === "/socket.io/") {
          if (searchParams.get("transport") === "polling") return new Response(HANDSHAKE);
          return self.upgrade(request) ? undefined : new Response("", { status: 400 });
        }
        const body = (await request.json()) as { nodeId?: string; waitMs?: number };
        if (pathname.endsWith("/heartbeat"))
          return Response.json({ acknowledged: true, nodeId: body.nodeId });
        if (pathname.endsWith("/claim")) await hold(body.waitMs ?? 0);
        return Response.json({ task: null });
      },
      websocket: {
        perMessageDeflate: false,
        idleTimeout: 120,
        open: (wire) => void wire.send(HANDSHAKE),
        message: (wire, message) => receive(wire, String(message)),
        close: (wire) => void links.delete(wire),
      },
    });
  }

  function hold(time: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, milliseconds(time));
    held.add(resolve);
    return promise.finally(() => {
      clearTimeout(timer);
      held.delete(resolve);
    });
  }

  function receive(wire: Wire, message: string): void {
    if (message.startsWith(`40${NAMESPACE}`)) return void wire.send(`40${NAMESPACE},{"sid":"bench"}`);
    const match = EVENT.exec(message);
    if (match === null) return;
    const [event, body] = JSON.parse(message.slice(match[0].length)) as [string, Body];
    const answer = (ack: object): void =>
      void wire.send(`43${NAMESPACE},${match[1]}${JSON.stringify([ack])}`);
    if (event === "agent.auth") return admit(wire, String(body["nodeId"]), answer);
    const link = links.get(wire);
    const ack = link && hearer.hear?.(link, event, body);
    if (ack instanceof Promise) void ack.then((later) => answer(later ?? { ok: true }));
    else answer(ack ?? { ok: true });
  }

  function admit(wire: Wire, nodeId: string, answer: (ack: object) => void): void {
    const ack = { type: "agent.auth.ack", authenticated: true, nodeId };
    const send = (event: string, body: object): void =>
      void wire.send(`42${NAMESPACE},${JSON.stringify([event, body])}`);
    const link: Link = { nodeId, send, cut: () => wire.terminate() };
    links.set(wire, link);
    send("agent.auth.ack", ack);
    answer(ack);
    hearer.online?.(link, performance.now());
  }

  function goAway(): void {
    for (const release of held) release();
    for (const wire of links.keys()) wire.terminate();
    void server.stop(true);
  }

  return {
    url: `http://127.0.0.1:${port}`,
    goAway,
    comeBack() {
      server = serve(port ?? 0);
      return performance.now();
    },
    [Symbol.dispose]: goAway,
  };
}

/** The executable as an agent of that plane, with default settings. */
export function startAgent(
  host: Machine,
  { url }: Pick<Plane, "url">,
  nodeId = crypto.randomUUID(),
): RunningBinary {
  const identity = { node_id: nodeId, agent_token: "token-of-the-bench-".repeat(3) };
  const config = host.write("work/bench.json", { api_url: url, ...identity });
  return host.start(["run", "--config", config]);
}

type Output = (bytes: Buffer) => void | Promise<void>;

/** One terminal of the agent that is online, as the control plane sees it. */
export interface Terminal {
  type(text: string): void;
  /** Types, and resolves with the time until the output since then holds the text. */
  echo(text: string, expected: string, within?: Duration): Promise<number>;
  opened(): Promise<void>;
  exited(): Promise<void>;
}

export interface Operator extends Disposable {
  readonly url: string;
  online(): Promise<void>;
  /** `onOutput` sees every frame as it arrives; its ack waits for what it returns. */
  open(onOutput?: Output): Terminal;
}

interface Seat {
  readonly opened: PromiseWithResolvers<void>;
  readonly exited: PromiseWithResolvers<void>;
  take(bytes: Buffer): void | Promise<void>;
}

/** The plane with an operator before it, for one agent. */
export function operator(): Operator {
  const online = Promise.withResolvers<void>();
  const seats = new Map<unknown, Seat>();
  let link: Link | undefined;
  let seq = 0;
  const { url, [Symbol.dispose]: dispose } = plane({
    online(now) {
      link = now;
      online.resolve();
    },
    async hear(_, event, { sessionId, payload }) {
      const seat = seats.get(sessionId);
      if (seat === undefined) return undefined;
      if (event === "terminal.output") {
        const taken = seat.take(Buffer.from(String(payload), "base64"));
        // No turn of the loop where nobody asked for one.
        if (taken !== undefined) await taken;
        return { ok: true, sessionId, seq: ++seq };
      }
      if (event === "terminal.opened") seat.opened.resolve();
      else {
        seat.exited.resolve();
        seats.delete(sessionId);
      }
      return { ok: true, sessionId, status: event === "terminal.opened" ? "open" : "closed" };
    },
  });
  return {
    url,
    online: () => soon("the agent is online", online.promise),
    open(onOutput) {
      const sessionId = crypto.randomUUID();
      let waiting: ((bytes: Buffer) => void) | undefined;
      const seat: Seat = {
        opened: Promise.withResolvers(),
        exited: Promise.withResolvers(),
        take(bytes) {
          waiting?.(bytes);
          return onOutput?.(bytes);
        },
      };
      seats.set(sessionId, seat);
      link?.send("terminal.start", {
        type: "terminal.start",
        sessionId,
        cols: 120,
        rows: 34,
        runAsRoot: false,
      });
      const type = (text: string): void => {
        const payload = Buffer.from(text).toString("base64");
        link?.send("terminal.input", { type: "terminal.input", sessionId, payload });
      };
      return {
        type,
        async echo(text, expected, within = seconds(15)) {
          let seen = "";
          let took: number | undefined;
          const begun = performance.now();
          waiting = (bytes) => {
            seen = (seen + bytes.toString("latin1")).slice(-1_000);
            if (seen.includes(expected)) took ??= performance.now() - begun;
          };
          type(text);
          await until(
            `${JSON.stringify(expected)} after ${JSON.stringify(text)}`,
            () => took !== undefined,
            within,
          );
          waiting = undefined;
          return took ?? Number.NaN;
        },
        opened: () => soon("the terminal opens", seat.opened.promise),
        exited: () => soon("the terminal ends", seat.exited.promise),
      };
    },
    [Symbol.dispose]: dispose,
  };
}

/** The event, or an error that names it: a bench must not wait for ever. */
async function soon(what: string, event: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(() => late.reject(new Error(`not in time: ${what}`)), seconds(20));
  await Promise.race([event, late.promise]).finally(() => clearTimeout(timer));
}
