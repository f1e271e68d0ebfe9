// The two other processes of the tunnel bench: `agent` is nothing but tunnels, `services` what they lead to.
import { echo, flood, listener, service } from "../support/tunnel.ts";

/** A listener, or the ports of an echo, of a flood that is as long as its client's first line says, and of a sink. */
async function main(role: string | undefined): Promise<void> {
  if (role === "agent") return say([listener().port]);
  const parrot = await service(echo);
  const source = await service((socket) => {
    socket.once("data", (line) => flood({ written: 0 }, Number(line.toString()))(socket));
  });
  // Tells at the end how much it was.
  const sink = await service((socket) => {
    let heard = 0;
    socket.on("data", (bytes) => void (heard += bytes.length));
    socket.on("end", () => socket.end(String(heard)));
  });
  return say([parrot.port, source.port, sink.port]);
}

const say = (ports: readonly number[]): void => void process.stdout.write(`${JSON.stringify(ports)}\n`);

await main(process.argv[2]);
