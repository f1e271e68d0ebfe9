// One agent-facing route: its path, who may call it, the body it takes, and what it does.
import type { NodeRow } from "../entities.ts";
import { type Fields, type Values, validate } from "./validation.ts";

export type Params = Readonly<Record<string, string>>;

export interface ApiRoute {
  /** Its name for faults, for example "claim". */
  readonly name: string;
  readonly method: "GET" | "POST";
  /** After the prefix, with `:name` for a variable segment. */
  readonly path: string;
  /** "headers": Bearer token and node id, not throttled. "public": the body carries the credential, throttled. */
  readonly auth: "headers" | "public";
  readonly status: 200 | 201;
  /** Validates the body (400) and returns the handler. */
  prepare(body: unknown): (params: Params, node: NodeRow | undefined) => unknown;
}

interface Spec<F extends Fields> {
  readonly name: string;
  readonly method?: "GET" | "POST";
  readonly path: string;
  readonly body: F;
  readonly status?: 200 | 201;
}

export function publicRoute<F extends Fields>(
  spec: Spec<F>,
  handle: (call: { body: Values<F>; params: Params }) => unknown,
): ApiRoute {
  return {
    method: "POST",
    status: 200,
    ...spec,
    auth: "public",
    prepare(raw) {
      const body = validate(spec.body, raw);
      return (params) => handle({ body, params });
    },
  };
}

export function nodeRoute<F extends Fields>(
  spec: Spec<F>,
  handle: (call: { body: Values<F>; params: Params; node: NodeRow }) => unknown,
): ApiRoute {
  return {
    method: "POST",
    status: 200,
    ...spec,
    auth: "headers",
    prepare(raw) {
      const body = validate(spec.body, raw);
      return (params, node) => {
        if (node === undefined) throw new Error(`${spec.name} was reached without authentication`);
        return handle({ body, params, node });
      };
    },
  };
}

/** The variables of `pattern` in `path`, or undefined when it is another path. */
export function matchPath(pattern: string, path: string): Params | undefined {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const actual = given[index] ?? "";
    if (part.startsWith(":")) params[part.slice(1)] = decode(actual);
    else if (part !== actual) return undefined;
  }
  return params;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
