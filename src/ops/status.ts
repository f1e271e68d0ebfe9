// What `status` shows: one document, made from the records the loops keep anyway.
import * as v from "valibot";

const LoopStatus = v.object({
  name: v.string(),
  note: v.string(),
  last_success: v.nullable(v.string()),
  last_error: v.nullable(v.object({ at: v.string(), message: v.string() })),
  consecutive_failures: v.number(),
});

/** Times are ISO strings, durations seconds, sizes bytes. */
export const Status = v.object({
  version: v.string(),
  pid: v.number(),
  uptime_seconds: v.number(),
  rss_bytes: v.number(),
  noderax: v.nullable(
    v.object({
      api_url: v.string(),
      node_id: v.nullable(v.string()),
      /** not_enrolled, or the standing of our identity: unknown, ok, suspect, refused, deleted. */
      standing: v.string(),
      since: v.string(),
      root_profile: v.nullable(v.string()),
      /** The realtime session; null where it is switched off, and before there is an identity. */
      session: v.nullable(
        v.object({
          /** connecting, authenticating, online, waiting (for the next try), stopped. */
          state: v.string(),
          since: v.string(),
          reconnects: v.number(),
          /** Which kind of trouble keeps it offline. */
          failure: v.nullable(v.string()),
          note: v.string(),
        }),
      ),
      terminals: v.array(
        v.object({
          id: v.string(),
          user: v.string(),
          age_seconds: v.number(),
          idle_seconds: v.number(),
          mode: v.nullable(v.string()),
        }),
      ),
      tasks: v.array(
        v.object({ id: v.string(), type: v.string(), note: v.string(), age_seconds: v.number() }),
      ),
      outbox: v.object({ waiting: v.number(), last_error: v.nullable(v.string()) }),
    }),
  ),
  loops: v.array(LoopStatus),
  warnings: v.array(v.string()),
});
export type Status = v.InferOutput<typeof Status>;
