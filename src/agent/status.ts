// The document that `status` shows.
import { type SteadyTime, isoOf, wallOf } from "../lib/clock.ts";
import * as v from "valibot";
import type { LoopRecord } from "../lib/loop.ts";

const LoopStatus = v.object({
  name: v.string(),
  /** A `LoopOwner`; absent in the oldest agents. Read it with `loopOwner`. */
  plane: v.optional(v.string()),
  note: v.string(),
  last_success: v.nullable(v.string()),
  last_error: v.nullable(v.object({ at: v.string(), message: v.string() })),
  consecutive_failures: v.number(),
});

/** What keeps tasks and terminals from each other and from the machine. */
const ProtectionStatus = v.object({
  /** The setting task_isolation. */
  isolation: v.string(),
  in_force: v.array(v.string()),
  /** What this machine cannot do, with the reason. */
  missing: v.array(v.string()),
});
export type ProtectionStatus = v.InferOutput<typeof ProtectionStatus>;

/** Where the node stands. */
const LocationDocument = v.object({
  provider: v.string(),
  source: v.string(),
  region: v.string(),
  zone: v.nullable(v.string()),
  latitude: v.nullable(v.number()),
  longitude: v.nullable(v.number()),
  /** waiting (for a session), accepted, refused (by this control plane, for good). */
  state: v.string(),
});
export type LocationDocument = v.InferOutput<typeof LocationDocument>;

const NoderaxStatus = v.object({
  api_url: v.string(),
  node_id: v.nullable(v.string()),
  /** not_enrolled, or the AuthStatus of our identity: unknown, ok, suspect, refused, deleted. */
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
      /** Class of the failure that keeps it offline. */
      failure: v.nullable(v.string()),
      note: v.string(),
    }),
  ),
  /** Null where none is known; absent in an agent of before. */
  location: v.optional(v.nullable(LocationDocument)),
  terminals: v.array(
    v.object({
      id: v.string(),
      user: v.string(),
      age_seconds: v.number(),
      idle_seconds: v.number(),
      mode: v.nullable(v.string()),
    }),
  ),
  tasks: v.array(v.object({ id: v.string(), type: v.string(), note: v.string(), age_seconds: v.number() })),
  /** Null before there is an identity; absent in an agent of before. */
  protection: v.optional(v.nullable(ProtectionStatus)),
  outbox: v.object({ waiting: v.number(), last_error: v.nullable(v.string()) }),
});
export type NoderaxStatus = v.InferOutput<typeof NoderaxStatus>;

const CaravanseraiStatus = v.object({
  server_url: v.string(),
  node: v.string(),
  /** The state reported last: Ready, NotReady, Draining; null before the first heartbeat. */
  state: v.nullable(v.string()),
  draining_since: v.nullable(v.string()),
  /** Versions are null while Docker is unreachable; `trouble` says why. */
  docker: v.object({
    version: v.nullable(v.string()),
    api_version: v.nullable(v.string()),
    trouble: v.nullable(v.string()),
  }),
  projects: v.array(
    v.object({
      name: v.string(),
      /** The server's; "none" for one that is on no list and being removed. */
      phase: v.string(),
      /** running, working, waiting, failed, removing, removed; unknown while Docker is unreachable. */
      state: v.string(),
      note: v.string(),
    }),
  ),
  /** What is here and on no list; `due` is when it is removed, null while that is not decided, or never. */
  orphans: v.array(
    v.object({
      name: v.string(),
      /** unknown, suspected, orphan, remove, terminated; kept: it failed, and a person will look at it. */
      verdict: v.string(),
      reason: v.string(),
      due: v.nullable(v.string()),
      containers: v.number(),
      /** Docker's names of its volumes, which only a person removes. Absent in an older agent. */
      volumes: v.optional(v.array(v.string()), []),
    }),
  ),
  /** Reports that the server has not accepted yet. */
  reports: v.object({ waiting: v.number(), last_error: v.nullable(v.string()) }),
  /**
   * The agent's own HTTP server; `trouble` says why it listens nowhere. Absent in an agent of before, as the
   * next.
   */
  listener: v.optional(
    v.object({
      address: v.nullable(v.string()),
      trouble: v.nullable(v.string()),
      tls: v.boolean(),
      tunnels: v.number(),
      logs: v.number(),
      /** Requests refused since the start. */
      refused: v.number(),
      last_refusal: v.nullable(v.object({ at: v.string(), address: v.string(), why: v.string() })),
      warnings: v.array(v.string()),
    }),
  ),
  /** Null where it is switched off. */
  ingress: v.optional(
    v.nullable(
      v.object({
        address: v.nullable(v.string()),
        trouble: v.nullable(v.string()),
        routes: v.number(),
        requests: v.number(),
        refused: v.number(),
        failed: v.number(),
      }),
    ),
  ),
});
export type CaravanseraiStatus = v.InferOutput<typeof CaravanseraiStatus>;

/** Times are ISO strings, durations seconds, sizes bytes. */
export const Status = v.object({
  version: v.string(),
  pid: v.number(),
  uptime_seconds: v.number(),
  /** Whether it is stopping. Absent in older agents. */
  stopping: v.optional(v.boolean()),
  rss_bytes: v.number(),
  noderax: v.nullable(NoderaxStatus),
  /** Absent in an agent of before. */
  caravanserai: v.optional(v.nullable(CaravanseraiStatus)),
  loops: v.array(LoopStatus),
  warnings: v.array(v.string()),
});
export type Status = v.InferOutput<typeof Status>;

/** The plane a loop belongs to, or "agent" for neither; in the order of the document. */
export const LOOP_OWNERS = ["noderax", "caravanserai", "agent"] as const;
export type LoopOwner = (typeof LOOP_OWNERS)[number];

/**
 * Returns the owner of a loop, also in a document of the oldest agents, which had only the Noderax plane and
 * named none.
 */
export const loopOwner = ({ plane = "noderax" }: Status["loops"][number]): string => plane;

/** Returns a loop as the status document shows it. */
export const loopStatus = (plane: LoopOwner, record: LoopRecord): v.InferOutput<typeof LoopStatus> => ({
  name: record.name,
  plane,
  note: record.note,
  last_success: isoOrNull(record.lastSuccess),
  last_error:
    record.lastError === undefined
      ? null
      : { at: isoOf(wallOf(record.lastError.at)), message: record.lastError.message },
  consecutive_failures: record.consecutiveFailures,
});

const isoOrNull = (time: SteadyTime | undefined): string | null =>
  time === undefined ? null : isoOf(wallOf(time));
