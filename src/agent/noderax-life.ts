// Runs the Noderax plane: waits for an identity, starts the plane, reports its status, and stops it.
import type { Database } from "bun:sqlite";
import { isoOf, steadyNow, wallOf } from "../lib/clock.ts";
import type { Duration } from "../lib/duration.ts";
import { seconds } from "../lib/duration.ts";
import type { LoopRegistry } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import { createHttp } from "../control/http.ts";
import { publicApi, withoutApiPrefix } from "../control/noderax-api.ts";
import { awaitIdentity } from "../identity/await-identity.ts";
import { beat } from "../identity/heartbeat.ts";
import { reportRunning } from "../identity/install-record.ts";
import type { NoderaxStatus } from "./status.ts";
import type { Account } from "../platform/account.ts";
import { version } from "../platform/build.ts";
import type { DiskReserve } from "../platform/disk-reserve.ts";
import type { Host } from "../platform/host.ts";
import type { Log } from "../platform/log.ts";
import type { HeldDirectory } from "../platform/private-directory.ts";
import type { ServiceRun } from "../platform/service.ts";
import type { LocationStatus } from "../identity/location/report.ts";
import { type NoderaxPlane, startNoderaxPlane } from "./noderax-plane.ts";

export interface NoderaxLifePorts {
  readonly settings: Settings;
  /** As configured. */
  readonly url: string;
  readonly host: Host;
  readonly authorities: () => string;
  readonly database: Database;
  readonly runs: string;
  readonly held: HeldDirectory;
  /** The agent's service, where its stop ends the tasks too. */
  readonly service: ServiceRun | undefined;
  readonly account: Account;
  readonly registry: LoopRegistry;
  readonly disk: DiskReserve;
  readonly log: Log;
}

export interface NoderaxLife {
  status(): NoderaxStatus;
  endTasks(): Promise<void>;
  /** Removes the output of finished tasks while the disk is full. Returns of how many. */
  makeRoom(): number;
  /** After `stop`: ends claims and terminals, then delivers the outbox. Ends early when `abandon` aborts. */
  windUp(grace: Duration): Promise<void>;
  /** Resolves when everything has ended. */
  settled(): Promise<void>;
  /** Rejects when the plane cannot go on. */
  readonly done: Promise<void>;
}

/** How long a stop waits for the shells of terminals before it kills them. */
const HANG_UP_LIMIT = seconds(5);

/** Starts the Noderax plane once this machine is enrolled. `stop` ends new work, `abandon` everything. */
export function startNoderax(
  ports: NoderaxLifePorts,
  stop: AbortSignal,
  abandon: AbortController,
): NoderaxLife {
  const { settings, host, authorities, registry, log } = ports;
  const startedAt = steadyNow();
  const apiUrl = withoutApiPrefix(ports.url);
  const http = createHttp({ baseUrl: apiUrl, authorities });
  const api = publicApi(http, settings.request_timeout);
  let plane: NoderaxPlane | undefined;
  const done = begin();

  async function begin(): Promise<void> {
    const report = registry.register("enrollment");
    const waiting = { settings, api, apiUrl, hostname: host.hostname, report, log };
    const identity = await awaitIdentity(waiting, stop);
    if (identity === undefined) return;
    log.info("agent", `node ${identity.nodeId} at ${apiUrl}`, { version });
    plane = startNoderaxPlane({ ...ports, identity, apiUrl, http, api }, stop, abandon.signal);
    const sendBeat = (signal: AbortSignal): Promise<void> => beat(api, identity, host, signal);
    const { state_file: stateFile } = settings;
    await Promise.all([plane.done, reportRunning({ stateFile, apiUrl, api, beat: sendBeat, log }, stop)]);
  }

  function session(): NoderaxStatus["session"] {
    if (plane?.realtime === undefined) return null;
    const { since, ...state } = plane.realtime.session.state();
    return { ...state, since: isoOf(wallOf(since)) };
  }

  return {
    status: () => ({
      api_url: apiUrl,
      node_id: plane?.identity.nodeId ?? null,
      standing: plane?.auth.status() ?? "not_enrolled",
      since: isoOf(wallOf(plane?.auth.since() ?? startedAt)),
      root_profile: plane?.rootAccess.profile() ?? null,
      location: locationOf(plane?.location.status()),
      session: session(),
      terminals: (plane?.realtime?.terminals.active() ?? []).map(({ id, account, age, idle, mode }) => ({
        id,
        user: account,
        age_seconds: Math.round(age / 1_000),
        idle_seconds: Math.round(idle / 1_000),
        mode: mode ?? null,
      })),
      tasks: (plane?.tasks.active() ?? []).map(({ id, type, note, age }) => ({
        id,
        type,
        note,
        age_seconds: Math.round(age / 1_000),
      })),
      protection: plane?.protection.status() ?? null,
      outbox: {
        waiting: plane?.outbox.state().waiting ?? 0,
        last_error: plane?.outbox.state().lastError ?? null,
      },
    }),
    endTasks: async () => plane?.tasks.endAll(),
    makeRoom: () => plane?.makeRoom() ?? 0,
    async windUp(grace) {
      await Promise.all([plane?.claiming, plane?.hangUp(Math.min(grace, HANG_UP_LIMIT))]);
      await plane?.tasks.reported(abandon.signal);
      await plane?.outbox.flushed(abandon.signal);
    },
    async settled() {
      await plane?.tasks.settled();
      await done.catch(() => {}); // Callers that wait for `done` get the error.
    },
    done,
  };
}

function locationOf(found: LocationStatus | undefined): NoderaxStatus["location"] {
  if (found === undefined) return null;
  const { zone = null, latitude = null, longitude = null, ...location } = found.location;
  return { ...location, zone, latitude, longitude, state: found.state };
}
