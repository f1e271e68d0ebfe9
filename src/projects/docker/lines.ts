// Parses a stream of JSON lines, as Docker sends progress and events.
import { MIB } from "../../lib/size.ts";
import { AgentError } from "../../lib/agent-error.ts";

/** Characters. The longest line of Docker carries about a hundred labels and stays far below this. */
const LINE_MAX = MIB;

/** Yields each line, parsed; skips empty ones. Throws `docker.refused` for other text, and the error of the stream. */
export async function* jsonLines(stream: AsyncIterable<Uint8Array | string>): AsyncGenerator {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") yield parse(line);
    if (rest.length > LINE_MAX)
      throw new AgentError("docker.refused", "Docker sent a line that does not end");
  }
  if (rest.trim() !== "") yield parse(rest);
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new AgentError("docker.refused", "Docker sent a line that is not JSON");
  }
}
