// The other implementation: a web server and a WebSocket client of Node's, for what passes the ingress between them.
//   node ingress-node.mjs serve               prints its port; ends with its standard input
//   node ingress-node.mjs websocket URL HOST  prints what it saw as one JSON object
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { gzipSync } from "node:zlib";
import { WebSocket, WebSocketServer } from "ws";

const PIECE = Buffer.alloc(65_536, "0123456789abcdef");
const [mode, url, host] = process.argv.slice(2);
if (mode === "serve") serve();
else await converse();

function serve() {
  const seen = { written: 0, aborted: 0, requests: 0, connections: 0 };
  const routes = {
    "/sum": (request, response) => {
      const hash = createHash("sha256");
      let bytes = 0;
      request.on("data", (chunk) => {
        hash.update(chunk);
        bytes += chunk.length;
      });
      request.on("end", () =>
        response.end(JSON.stringify({ bytes, sha256: hash.digest("hex"), trailers: request.rawTrailers })),
      );
    },
    "/bytes": (request, response, query) => {
      const total = Number(query.get("n"));
      if (query.has("length")) response.setHeader("Content-Length", total);
      seen.written = 0;
      const go = () => {
        while (seen.written < total) {
          seen.written += PIECE.length;
          if (response.write(PIECE)) continue;
          response.once("drain", go);
          return;
        }
        response.end();
      };
      go();
    },
    "/cut": (_, response, query) => {
      if (query.has("length")) response.setHeader("Content-Length", 1_000_000);
      response.write(PIECE, () => setTimeout(() => response.destroy(), 50));
    },
    "/hang": () => {},
    "/unread": (request) => void request.pause(),
    "/events": (request, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.flushHeaders();
      seen.event = (text) => response.write(`data: ${text}\n\n`);
    },
    "/event": (_, response, query) => {
      seen.event(query.get("text"));
      response.end();
    },
    "/seen": (_, response) => response.end(JSON.stringify(seen)),
    "/cookies": (_, response) => response.writeHead(200, { "Set-Cookie": ["a=1", "b=2"] }).end(),
    "/gzip": (_, response) =>
      response.writeHead(200, { "Content-Encoding": "gzip" }).end(gzipSync("x".repeat(99))),
    "/redirect": (_, response) => response.writeHead(302, { Location: "http://elsewhere.test/a?b" }).end(),
    "/empty": (_, response, query) => response.writeHead(Number(query.get("status")), { ETag: '"e"' }).end(),
    "/length": (_, response) => response.writeHead(200, { "Content-Length": 12 }).end("hello, world"),
    "/trailers": (_, response) => {
      response.writeHead(200, { Trailer: "X-Sum" });
      response.write("a");
      response.addTrailers({ "X-Sum": "7" });
      response.end("b");
    },
    "/hops": (_, response) =>
      response
        .writeHead(200, { Connection: "close, X-Hop", "X-Hop": "1", "Keep-Alive": "timeout=9", "X-End": "2" })
        .end(),
    "/latin1": (_, response) => response.writeHead(200, { "X-Name": "caf\u00e9" }).end(),
  };
  const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 });
  const answer = (request, response) => {
    seen.requests++;
    request.on("error", () => {});
    response.on("close", () => {
      if (!response.writableFinished) seen.aborted++;
    });
    const [path, query] = request.url.split("?");
    const act = routes[path];
    const { method, url, rawHeaders } = request;
    if (act !== undefined) act(request, response, new URLSearchParams(query));
    else response.end(JSON.stringify({ method, url, headers: rawHeaders }));
  };
  server.on("request", answer);
  server.on("checkContinue", (request, response) => {
    if (request.url === "/refuse") {
      response.writeHead(413, { Connection: "close" }).end();
    } else {
      response.writeContinue();
      answer(request, response);
    }
  });
  server.on("connection", (socket) => {
    seen.connections++;
    socket.on("error", () => {});
  });
  const websockets = new WebSocketServer({ noServer: true, perMessageDeflate: { threshold: 0 } });
  server.on("upgrade", (request, socket, head) => {
    if (request.url === "/ws")
      return websockets.handleUpgrade(request, socket, head, (client) => {
        client.on("pong", (data) => client.send(`pong ${data.toString()}`));
        client.on("message", (data, isBinary) => {
          const text = isBinary ? "" : Buffer.from(data).toString();
          if (text === "ping me") client.ping("hello");
          else if (text === "close me") client.close(4_001, "as you wish");
          else client.send(data, { binary: isBinary });
        });
      });
    if (request.url === "/forbidden")
      return void socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", () => {
        socket.on("data", (data) => (seen.smuggled = String(data)));
      });
    socket.write("HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nX-Also: 1\r\n\r\nfirst ");
    if (head.length > 0) socket.write(head);
    socket.pipe(socket);
  });
  server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(server.address().port));
  process.stdin.resume().on("end", () => process.exit());
}

async function converse() {
  const client = new WebSocket(url, ["first", "second"], {
    headers: { Host: host },
    perMessageDeflate: { threshold: 0 },
  });
  const seen = { messages: [] };
  const message = () => new Promise((resolve) => client.once("message", (data) => resolve(data)));
  await new Promise((resolve, reject) => client.once("open", resolve).once("error", reject));
  seen.protocol = client.protocol;
  seen.extensions = client.extensions;
  const large = Buffer.alloc(1_000_000, "compressible ");
  for (const text of ["hello", "ping me", large]) {
    const answer = message();
    client.send(text);
    const data = await answer;
    seen.messages.push(data.length > 100 ? data.equals(large) : String(data));
  }
  const closed = new Promise((resolve) =>
    client.once("close", (code, reason) => resolve([code, String(reason)])),
  );
  client.send("close me");
  seen.closed = await closed;
  console.log(JSON.stringify(seen));
}
