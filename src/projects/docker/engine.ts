// The Engine port over Docker's HTTP API: reads, changes and streams share one client and one snapshot reader.
import type { Duration } from "../../lib/duration.ts";
import { createChanges } from "./changes.ts";
import { createDockerClient } from "./client.ts";
import type { DockerEnvironment } from "./host.ts";
import type { IsRecorded } from "./observe.ts";
import { createReads } from "./reads.ts";
import { createSnapshotReader } from "./snapshot.ts";
import { type RegistryLogin, createStreams } from "./streams.ts";
import type { EndedJobs } from "./ended-jobs.ts";
import type { Engine } from "../plan/engine.ts";

export interface DockerOptions extends RegistryLogin {
  /** `docker_host`: "unix:///var/run/docker.sock", "tcp://host:2375". */
  readonly host: string;
  readonly environment: DockerEnvironment & RegistryLogin["environment"];
  /** Written to the labels of everything that is created; default "", none. */
  readonly node?: string;
  /** Default: every container is on record. */
  readonly isRecorded?: IsRecorded;
  /** Jobs that are known to have ended by themselves; without it, they are remembered in memory only. */
  readonly endedJobs?: EndedJobs;
  /** How long the daemon may take to answer a GET; default 30 s. After that it counts as unreachable. */
  readonly answerTimeout?: Duration;
}

/** Connects with the first call, and again after the daemon was unreachable. */
export function createDocker(options: DockerOptions): Engine {
  const { account, environment, node = "", isRecorded = () => true, endedJobs } = options;
  const client = createDockerClient({ ...options, home: account.home });
  const snapshots = createSnapshotReader(client, { isRecorded, endedJobs });
  return {
    ...createReads(client, snapshots, isRecorded),
    ...createChanges(client, snapshots, node),
    ...createStreams(client, snapshots, { account, environment }),
  };
}
