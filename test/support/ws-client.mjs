// A WebSocket client by another library than Bun's: `ws`, under Node. Takes its task as JSON, prints what it saw as JSON.
import { createHash } from "node:crypto";
import { WebSocket } from "ws";

const {
  url,
  protocols = [],
  headers = {},
  send = 0,
  frame = 65_536,
  text,
  say,
  end = false,
  close,
} = JSON.parse(process.argv[2]);
const socket = new WebSocket(url, protocols, { headers, perMessageDeflate: true });
const sent = createHash("sha256");
const heard = createHash("sha256");
const seen = { received: 0, refusal: null, start: "" };

/** No faster than the socket takes it. */
function pour(left) {
  if (left <= 0) return finish();
  const bytes = Buffer.alloc(Math.min(frame, left));
  for (let i = 0; i < bytes.length; i += 97) bytes[i] = (left + i) & 0xff;
  sent.update(bytes);
  socket.send(bytes, { binary: true }, (error) => {
    if (!error) setImmediate(pour, left - bytes.length);
  });
}

function finish() {
  if (text !== undefined) socket.send(text);
  if (say !== undefined) socket.send(Buffer.from(say));
  // The half-close of tunnels.
  if (end) socket.send(Buffer.alloc(0));
  if (close === "when sent") socket.close(1000);
}

socket.on("open", () => pour(send));
socket.on("message", (bytes) => {
  seen.received += bytes.length;
  if (seen.start.length < 1_000) seen.start += Buffer.from(bytes).toString("latin1", 0, 1_000);
  heard.update(bytes);
  if (close === "when echoed" && seen.received >= send) socket.close(1000);
});
socket.on("unexpected-response", (request, response) => {
  let body = "";
  response.on("data", (chunk) => (body += chunk));
  response.on("end", () => {
    seen.refusal = { status: response.statusCode, body };
    request.destroy();
    tell(1006, "");
  });
});
socket.on("error", () => {});
socket.on("close", (code, reason) => tell(code, String(reason)));

function tell(code, reason) {
  const { protocol, extensions } = socket;
  const hashes = { sent: sent.digest("hex"), heard: heard.digest("hex") };
  process.stdout.write(
    `${JSON.stringify({ ...seen, ...hashes, protocol, extensions, code, reason })}\n`,
    () => process.exit(0),
  );
}
