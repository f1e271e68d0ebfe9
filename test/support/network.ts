// The network between agent and control plane: it counts and reads along, and can cut, freeze and refuse.
import { type AddressInfo, type Server, type Socket, connect, createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { type Packet, frameReader, readPacket } from "./frames.ts";

export interface Request {
  readonly method: string;
  /** With its query, and without the base path. */
  readonly path: string;
  readonly upgrade: boolean;
  readonly at: number;
}

export interface NetworkOptions {
  /** PEM texts: it speaks TLS to the agent, as a reverse proxy does. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** "/noderax": only below it is the control plane, which knows nothing of it. */
  readonly base?: string;
}

export interface Refusal {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Which requests; websockets by default. */
  readonly of?: (request: Request) => boolean;
}

export interface Network extends AsyncDisposable {
  /** What the agent's `api_url` is. */
  readonly url: string;
  readonly port: number;
  /** Every HTTP request that came by, upgrades and refused ones included. */
  readonly requests: readonly Request[];
  /** Every event and ack on every websocket, in order. */
  readonly packets: readonly Packet[];
  /** The bodies and times of an event the agent sent. */
  events(name: string): Packet[];
  /** How often a path was asked for, by how it ends. */
  count(path: string): number;
  /** How many websockets were asked for. */
  upgrades(): number;
  /** How many the agent keeps open. */
  websockets(): number;
  /** Where connections lead from now on: a port of this machine. */
  leadsTo(port: number): void;
  /** Resets every connection there is. */
  cut(): void;
  /** From now on not a byte passes on the connections there are; also on later ones, if asked. None is closed. */
  freeze(later?: "later ones too"): void;
  /** Everything passes again, what was frozen too, unless its peers have given it up. */
  thaw(): void;
  refuse(refusal: Refusal | undefined): void;
}

/** Leads nowhere before `leadsTo`. */
export async function network({ tls, base = "" }: NetworkOptions = {}): Promise<Network> {
  const requests: Request[] = [];
  const packets: Packet[] = [];
  const sockets = new Set<Socket>();
  const websockets = new Set<Socket>();
  let target = 0;
  let frozen = false;
  let refusal: Refusal | undefined;

  function accept(near: Socket): void {
    const far = connect(target, "127.0.0.1");
    let websocket = false;
    const hear = (from: Packet["from"]): ((bytes: Buffer) => void) =>
      frameReader((text) => {
        const packet = readPacket(from, text);
        if (packet !== undefined) packets.push(packet);
      });
    const heard = { agent: hear("agent"), server: afterHead(hear("server")) };
    near.on("data", (bytes: Buffer) => {
      if (websocket) heard.agent(bytes);
      const request = websocket ? undefined : requestIn(bytes);
      if (request === undefined) return far.write(bytes);
      requests.push(request);
      websocket = request.upgrade;
      if (websocket) websockets.add(near);
      const answer = answerTo(request, bytes);
      if (answer !== undefined) return near.end(answer);
      return far.write(Buffer.from(bytes.toString("latin1").replace(` ${base}/`, " /"), "latin1"));
    });
    far.on("data", (bytes: Buffer) => {
      if (websocket) heard.server(bytes);
      near.write(bytes);
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        sockets.delete(one);
        websockets.delete(one);
        other.destroy();
      });
      if (frozen) one.pause();
    }
  }

  /** Of a chunk that begins with one: requests are not pipelined, and bodies come behind or in chunks of their own. */
  function requestIn(bytes: Buffer): Request | undefined {
    const [head = ""] = bytes.toString("latin1").split("\r\n\r\n");
    const [, method, path = ""] = /^([A-Z]+) (\S+) HTTP\/1\.1\r\n/.exec(head) ?? [];
    if (method === undefined) return undefined;
    const below = path.startsWith(`${base}/`) ? path.slice(base.length) : path;
    return { method, path: below, upgrade: /\r\nupgrade: *websocket/i.test(head), at: Date.now() };
  }

  /** Undefined: it may pass. */
  function answerTo(request: Request, bytes: Buffer): string | undefined {
    if (base !== "" && !bytes.toString("latin1").includes(` ${base}/`)) return answer(404);
    const { of = ({ upgrade }: Request) => upgrade } = refusal ?? {};
    return refusal !== undefined && of(request) ? answer(refusal.status, refusal.headers) : undefined;
  }

  const server: Server =
    tls === undefined ? createServer(accept) : createTlsServer({ cert: tls.cert, key: tls.key }, accept);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}${base}`,
    port,
    requests,
    packets,
    events: (name) => packets.filter(({ from, event }) => from === "agent" && event === name),
    count: (path) => requests.filter((request) => request.path.endsWith(path)).length,
    upgrades: () => requests.filter(({ upgrade }) => upgrade).length,
    websockets: () => websockets.size,
    leadsTo: (port) => void (target = port),
    cut() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    freeze(later) {
      frozen = later !== undefined;
      for (const socket of sockets) socket.pause();
    },
    thaw() {
      frozen = false;
      for (const socket of sockets) socket.resume();
    },
    refuse: (change) => void (refusal = change),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Passes on what comes behind the head of an HTTP answer. */
function afterHead(then: (bytes: Buffer) => void): (bytes: Buffer) => void {
  let head: Buffer | undefined = Buffer.alloc(0);
  return (bytes) => {
    if (head === undefined) return then(bytes);
    head = Buffer.concat([head, bytes]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) return;
    const behind = head.subarray(end + 4);
    head = undefined;
    if (behind.length > 0) then(behind);
  };
}

function answer(status: number, headers: Readonly<Record<string, string>> = {}): string {
  const all = { ...headers, "content-length": "0", connection: "close" };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} Refused\r\n${lines.join("")}\r\n`;
}
