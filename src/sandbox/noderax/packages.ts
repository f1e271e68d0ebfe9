// Package tasks as the control plane makes them and reads their results, written from the contract (3.3, 13.1).
import * as v from "valibot";
import type { TaskDocument } from "../documents.ts";

const CHANGES = { install: "packageInstall", remove: "packageRemove", purge: "packagePurge" } as const;

interface PackageTask {
  readonly type: string;
  readonly payload: Readonly<Record<string, unknown>>;
}

/** Returns the task of an operator's request, or why there is none. The payload repeats the names, as the original's does. */
export function packageTaskOf(action: string, words: readonly string[]): PackageTask | string {
  if (action === "list") {
    return words.length === 0 ? { type: "packageList", payload: {} } : "list takes no words";
  }
  if (action === "search") {
    const term = words.join(" ");
    return term === "" ? "search needs words" : { type: "packageSearch", payload: { term, query: term } };
  }
  if (!isChange(action)) return `"${action}" is none of list, search, install, remove and purge`;
  const problem = problemOfNames(words);
  if (problem !== undefined) return problem;
  const [first] = words;
  return {
    type: CHANGES[action],
    payload: {
      names: words,
      packages: words,
      ...(words.length === 1 ? { package: first } : {}),
      purge: action === "purge",
    },
  };
}

const isChange = (action: string): action is keyof typeof CHANGES => Object.hasOwn(CHANGES, action);

/** The original's own check of names: 1 to 255 characters each, unique. What they mean is the agent's to check. */
function problemOfNames(names: readonly string[]): string | undefined {
  if (names.length === 0) return "name at least one package";
  if (names.some((name) => name.length < 1 || name.length > 255)) return "a name has 1 to 255 characters";
  return new Set(names).size === names.length ? undefined : "each package is named once";
}

const text = v.nullish(v.string());
const Package = v.looseObject({
  name: v.pipe(v.string(), v.minLength(1)),
  version: text,
  architecture: text,
  description: text,
  status: text,
});
const Listed = v.object({ packages: v.array(Package) });
const Found = v.object({ results: v.array(Package) });
const Changed = v.looseObject({
  names: v.optional(v.array(v.string())),
  purge: v.optional(v.boolean()),
  output: v.optional(v.string()),
});

type Packages = v.InferOutput<typeof Package>[];

export type PackageAnswer = { readonly error: string | null } & (
  | { readonly packages: Packages }
  | { readonly results: Packages }
  | { readonly result: v.InferOutput<typeof Changed> | null }
);

/**
 * Reads the result of a package task that has ended. A success without the collection is an error, in the original's words;
 * of a failure the output is the error, else that of the result.
 */
export function packageAnswerOf(task: TaskDocument): PackageAnswer {
  const failure = task.status === "success" ? null : failureOf(task);
  if (task.type === "packageList") {
    const parsed = v.safeParse(Listed, task.result);
    return parsed.success
      ? { packages: parsed.output.packages, error: failure }
      : { packages: [], error: failure ?? UNSTRUCTURED };
  }
  if (task.type === "packageSearch") {
    const parsed = v.safeParse(Found, task.result);
    return parsed.success
      ? { results: parsed.output.results, error: failure }
      : { results: [], error: failure ?? UNSTRUCTURED };
  }
  const parsed = v.safeParse(Changed, task.result);
  return parsed.success
    ? { result: parsed.output, error: failure }
    : { result: null, error: failure ?? UNSTRUCTURED };
}

const UNSTRUCTURED = "Task completed without a structured package result.";

function failureOf({ status, output, result }: TaskDocument): string {
  const error = result?.["error"];
  if (typeof error === "string" && error !== "") return error;
  return output?.trim() || `the task ended as ${status}`;
}
