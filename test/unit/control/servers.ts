// Control planes made to misbehave: over HTTP, below it, and behind TLS.
import { type AddressInfo, type Server, type Socket, createServer } from "node:net";
import * as v from "valibot";
import type { AgentError } from "../../../src/lib/agent-error.ts";
import { seconds } from "../../../src/lib/duration.ts";
import { type HttpCall, type Http, createHttp } from "../../../src/control/http.ts";

export interface Address extends AsyncDisposable {
  readonly url: string;
}

/** An HTTP server that answers with what `answer` returns. */
export function serve(answer: (request: Request) => Response | Promise<Response>): Address {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
  return {
    url: `http://127.0.0.1:${server.port}`,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

/** A server of plain bytes: told of every request line that arrives, it does what it likes with the socket. */
export async function serveBytes(
  onRequest: (socket: Socket, request: string) => void,
): Promise<Address & { readonly port: number }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    socket.on("data", (bytes) => onRequest(socket, bytes.toString("latin1")));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const httpTo = ({ url }: Pick<Address, "url">): Http =>
  createHttp({ baseUrl: url, authorities: () => "" });

export const forever = new AbortController().signal;

/** A GET that takes any answer. */
export const get = {
  method: "GET",
  path: "/thing",
  answer: v.unknown(),
  timeout: seconds(5),
  idempotent: true,
} satisfies HttpCall<v.GenericSchema>;

/** The error a call ends with. */
export const failureOf = (call: Promise<unknown>): Promise<AgentError> =>
  call.then(
    (answer) => Promise.reject(new Error(`the call was answered: ${JSON.stringify(answer)}`)),
    (error: AgentError) => error,
  );
