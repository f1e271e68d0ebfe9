// The kinds packageList {} and packageSearch {term, query}: read what is installed, and what there is. They need no root.
import * as v from "valibot";
import { minutes } from "../../lib/duration.ts";
import { listInstalled, requireManager, searchPackages } from "../../packages/inquire.ts";
import type { PackageManager } from "../../packages/adapter.ts";
import { type Finished, type Prepared, defineKind } from "./kind.ts";

/** A repository may have to be asked over a slow line. */
const LIMIT = minutes(3);

export const packageList = defineKind({
  type: "packageList",
  allowedBy: "allow_packages",
  payload: v.object({}),
  prepare: () =>
    reads(async (manager, signal) => {
      const packages = await listInstalled(manager, signal);
      return { result: { packages }, output: `${packages.length} packages are installed (${manager.name})` };
    }),
});

const text = v.nullish(
  v.pipe(v.string("must be a string"), v.maxLength(1_000, "is longer than 1000 characters")),
);

export const packageSearch = defineKind({
  type: "packageSearch",
  allowedBy: "allow_packages",
  payload: v.object({ term: text, query: text }),
  prepare(payload) {
    const term = (payload.term ?? payload.query ?? "").trim();
    if (term === "") return { do: "refuse", text: "invalid payload of packageSearch: term is empty" };
    return reads(async (manager, signal) => {
      const results = await searchPackages(manager, term, signal);
      return { result: { results }, output: `${results.length} packages match (${manager.name})` };
    });
  },
});

const reads = (ask: (manager: PackageManager, signal: AbortSignal) => Promise<Finished>): Prepared => ({
  do: "work",
  timeout: LIMIT,
  repeatable: true,
  run: ({ signal }) => ask(requireManager(), signal),
});
