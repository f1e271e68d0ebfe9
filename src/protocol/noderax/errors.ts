// The error body of the Noderax API: one message, and for validation failures each of its parts.
import * as v from "valibot";

/** `error` (the HTTP reason phrase) is absent on 429 and 500; `errors` only stands on validation failures. */
export const ErrorBody = v.object({
  statusCode: v.number(),
  message: v.string(),
  path: v.optional(v.string()),
  timestamp: v.optional(v.string()),
  error: v.optional(v.string()),
  errors: v.optional(v.array(v.string())),
});
export type ErrorBody = v.InferOutput<typeof ErrorBody>;
