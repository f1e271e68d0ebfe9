// Reads the progress of a pull from the lines of its stream into a table of layers.
import * as v from "valibot";

const Line = v.object({
  id: v.nullish(v.string(), ""),
  status: v.nullish(v.string(), ""),
  progressDetail: v.nullish(
    v.object({ current: v.nullish(v.number(), 0), total: v.nullish(v.number(), 0) }),
    { current: 0, total: 0 },
  ),
  error: v.nullish(v.string(), ""),
  errorDetail: v.nullish(v.object({ message: v.nullish(v.string(), "") }), { message: "" }),
});

interface Layer {
  readonly phase: "waiting" | "downloading" | "downloaded" | "done";
  readonly current: number;
  readonly total: number;
}

export type Layers = Map<string, Layer>;

/** More than any image has; further layers are ignored. */
const LAYERS_MAX = 1_000;

const PHASES: Record<string, Layer["phase"]> = {
  "Pulling fs layer": "waiting",
  Waiting: "waiting",
  Downloading: "downloading",
  "Verifying Checksum": "downloaded",
  "Download complete": "downloaded",
  Extracting: "downloaded",
  "Pull complete": "done",
};

/** Updates the table from a line. Returns the error message in the line, undefined when there is none. */
export function takeLine(layers: Layers, line: unknown): string | undefined {
  const { success, output } = v.safeParse(Line, line);
  if (!success) return undefined;
  const error = output.errorDetail.message || output.error;
  if (error !== "") return error;
  const phase = PHASES[output.status];
  if (phase === undefined || (layers.size >= LAYERS_MAX && !layers.has(output.id))) return undefined;
  const before = layers.get(output.id);
  const total = output.status === "Downloading" ? output.progressDetail.total : (before?.total ?? 0);
  const current = phase === "downloading" ? output.progressDetail.current : total;
  layers.set(output.id, { phase, current: phase === "waiting" ? 0 : current, total });
  return undefined;
}

/** "12 of 48 MB", "extracting". Only the sizes of started layers are known, so the total grows at first. */
export function progressText(layers: Layers): string {
  const all = [...layers.values()];
  if (all.length === 0) return "asking the registry";
  if (all.every(({ phase }) => phase === "downloaded" || phase === "done")) return "extracting";
  const sum = (of: (layer: Layer) => number): number => all.reduce((total, layer) => total + of(layer), 0);
  return `${megabytes(sum(({ current }) => current))} of ${megabytes(sum(({ total }) => total))} MB`;
}

const megabytes = (bytes: number): string =>
  bytes < 10e6 ? (bytes / 1e6).toFixed(1) : String(Math.round(bytes / 1e6));
