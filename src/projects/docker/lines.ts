// The lines of a stream of JSON objects, as Docker sends progress and events.
import { MIB } from "../../lib/size.ts";
import { AgentError } from "../../lib/agent-error.ts";

/** The longest line there is carries a hundred labels; anything near this is no line of Docker's. */
const LINE_MAX = MIB;

/** Every line that is a JSON object, parsed. Throws what the stream ends with when it breaks off. */
export async function* jsonLines(stream: AsyncIterable<Uint8Array | string>): AsyncGenerator {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") yield parse(line);
    if (rest.length > LINE_MAX) throw new AgentError("docker.refused", "Docker sent a line without end");
  }
  if (rest.trim() !== "") yield parse(rest);
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new AgentError("docker.refused", "Docker sent a line that is no JSON");
  }
}
