// A control plane whose realtime side says what the test wants, however wrong; everything else is the sandbox's answer.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server, type Socket } from "socket.io";

type Answer = (...answer: unknown[]) => void;
type EngineSocket = Parameters<Engine["onWebSocketOpen"]>[0];

export interface Hostile extends AsyncDisposable {
  readonly url: string;
  /** Every event of the agent on any socket. */
  readonly heard: { readonly event: string; readonly body: Record<string, unknown> }[];
  count(event: string): number;
  /** How many sockets came to the namespace, and when the last one did; of the steady clock. */
  readonly came: { count: number; at: number };
  /** The socket that came last. */
  socket(): Socket;
  /** Bytes or text on its websocket, past Socket.IO and Engine.IO. */
  raw(frame: string | Uint8Array): void;
  /** Answers `agent.auth`, in place of letting in. */
  onAuth(how: ((socket: Socket, answer: Answer) => void) | undefined): void;
  /** Answers everything else, in place of `{ ok: true }`. */
  onEvent(how: ((event: string, answer: Answer) => void) | undefined): void;
  /** Where HTTP requests are answered: the URL of a sandbox. */
  leadsTo(url: string): void;
}

export function hostile(): Hostile {
  const io = new Server();
  const engine = new Engine({ path: "/socket.io/" });
  io.bind(engine);
  const heard: Hostile["heard"] = [];
  const came = { count: 0, at: 0 };
  let upstream = "";
  let last: Socket | undefined;
  let wire: EngineSocket | undefined;
  let authenticate: ((socket: Socket, answer: Answer) => void) | undefined;
  let respond: ((event: string, answer: Answer) => void) | undefined;

  io.of("/agent-realtime").on("connection", (socket) => {
    last = socket;
    came.count++;
    came.at = performance.now();
    socket.onAny((event: string, body: Record<string, unknown>, answer: Answer) => {
      heard.push({ event, body });
      if (event !== "agent.auth")
        return respond === undefined ? answer({ ok: true }) : respond(event, answer);
      if (authenticate !== undefined) return authenticate(socket, answer);
      answer({ type: "agent.auth.ack", authenticated: true, nodeId: body["nodeId"] });
    });
  });
  const { websocket } = engine.handler();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 255,
    websocket: {
      ...websocket,
      open(ws: EngineSocket) {
        wire = ws;
        engine.onWebSocketOpen(ws);
      },
    },
    async fetch(request, self) {
      const { pathname } = new URL(request.url);
      if (pathname === "/socket.io/") return engine.handleRequest(request, self);
      const { method, headers } = request;
      const body = await request.text();
      const init = { method, headers, keepalive: false, ...(body === "" ? {} : { body }) };
      const answer = await fetch(upstream + pathname, init);
      return new Response(await answer.arrayBuffer(), { status: answer.status });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    heard,
    count: (event) => heard.filter((one) => one.event === event).length,
    came,
    socket() {
      if (last === undefined) throw new Error("no agent has come yet");
      return last;
    },
    raw: (frame) => void wire?.send(frame),
    onAuth: (how) => void (authenticate = how),
    onEvent: (how) => void (respond = how),
    leadsTo: (url) => void (upstream = url),
    async [Symbol.asyncDispose]() {
      engine.close();
      await server.stop(true);
    },
  };
}
