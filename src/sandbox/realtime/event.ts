// One event of agents: checks its body without conversions, and handles it.
import * as v from "valibot";
import { badRequest } from "../http/api-error.ts";
import { isoDate, isUuid } from "../noderax/validation.ts";

export interface AgentEvent {
  /** Checks the body (throws) and returns the handler for the node that sent it. */
  prepare(body: unknown): (nodeId: string) => object;
}

/** `run` returns the ack. The ack does not name the fault of a body, as in the original. */
export function agentEvent<const S extends v.GenericSchema>(
  schema: S,
  run: (body: v.InferOutput<S>, nodeId: string) => object,
): AgentEvent {
  return {
    prepare(raw) {
      const body = strictly(schema, raw);
      return (nodeId) => run(body, nodeId);
    },
  };
}

export function strictly<const S extends v.GenericSchema>(schema: S, raw: unknown): v.InferOutput<S> {
  const parsed = v.safeParse(schema, raw);
  if (parsed.success) return parsed.output;
  throw badRequest("Bad Request Exception");
}

/** A key that may be missing or null. */
export const maybe = <const S extends v.GenericSchema>(schema: S) =>
  v.pipe(
    v.nullish(schema),
    v.transform((value) => value ?? undefined),
  );

export const uuidText = v.pipe(v.string(), v.check(isUuid));
export const iso = v.pipe(
  v.string(),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const read = isoDate().read(dataset.value, "");
    if ("value" in read) return read.value;
    addIssue();
    return NEVER;
  }),
);
/** Text of so many code points. */
export const boundedText = (min: number, max: number) =>
  v.pipe(
    v.string(),
    v.check((value) => {
      const length = Array.from(value).length;
      return length >= min && length <= max;
    }),
  );
