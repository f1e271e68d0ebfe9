// The streams of the Docker Engine: its events, the log of a container, the progress of a pull.
import { AgentError, hasCode } from "../../lib/agent-error.ts";
import type { Account } from "../../platform/account.ts";
import { Inspection } from "./answers.ts";
import { get, post } from "./call.ts";
import type { DockerClient, OpenStream } from "./client.ts";
import { type CredentialsOptions, findCredentials } from "./credentials.ts";
import { pullFailure } from "./errors.ts";
import { EVENT_FILTERS, readEvent } from "./events.ts";
import { watch } from "./limits.ts";
import { jsonLines } from "./lines.ts";
import { type Unframe, createUnframe } from "./logs.ts";
import { progressText, takeLine } from "./pull-progress.ts";
import type { SnapshotReader } from "./snapshot.ts";
import type { EngineStreams } from "../plan/engine.ts";
import { fullReference } from "../plan/images.ts";

export interface RegistryLogin {
  /** The user whose Docker configuration has the credentials of private registries. */
  readonly account: Pick<Account, "name" | "home">;
  readonly environment: CredentialsOptions["environment"];
}

/** Creates the part of the engine that reads streams: events, pulls and logs. Pulls use the logins of the account. */
export function createStreams(
  client: DockerClient,
  snapshots: SnapshotReader,
  { account, environment }: RegistryLogin,
): EngineStreams {
  return {
    async events(onEvent, signal) {
      const { stream, watch } = await client.openStream(get("/events", { filters: EVENT_FILTERS }), signal);
      using _ = watch;
      snapshots.forgetEvents();
      onEvent({ project: "", action: "connected" });
      const listen = async (): Promise<void> => {
        for await (const line of jsonLines(stream)) {
          snapshots.takeEvent(line);
          const event = readEvent(line, (volume) => snapshots.ownerOfVolume(volume));
          if (event !== undefined) onEvent(event);
        }
      };
      // Ignore how it ends: the caller opens it again, and takes a snapshot of what it missed.
      await watch.race(listen()).catch(() => {});
      client.disconnect();
    },
    async logs(id, { follow, tail, timestamps, since }, signal) {
      const { Config } = await client.read(Inspection, get(`/containers/${id}/json`), signal);
      const query = { stdout: true, stderr: true, follow, tail, timestamps, since: since?.toFixed(6) };
      const call = get(`/containers/${encodeURIComponent(id)}/logs`, query);
      const opened = await client.openStream(call, signal);
      return unframed(opened, Config.Tty ? (chunk) => chunk : createUnframe());
    },
    async pull(image, onProgress, idle, signal) {
      const { registry, fromImage, tag } = partsOf(image);
      const { auth, problem } = await findCredentials(registry, { home: account.home, environment });
      const login = problem ?? `log in with \`docker login ${registry}\` as ${account.name}`;
      using limit = watch(idle, stalled, signal);
      const work = async (): Promise<void> => {
        const call = { ...post("/images/create", {}, { fromImage, tag }), authconfig: auth };
        const layers = new Map();
        for await (const line of jsonLines(await client.open(call, limit.signal))) {
          limit.touch();
          const error = takeLine(layers, line);
          if (error !== undefined) throw pullFailure(error, login);
          onProgress({ text: progressText(layers) });
        }
      };
      try {
        await limit.race(work());
      } catch (error) {
        const failed = client.failure(error);
        // An error status of this request is about the image.
        throw failed.status !== undefined && hasCode(failed, "docker.refused", "docker.gone", "docker.full")
          ? pullFailure(failed.message, login, error)
          : failed;
      }
    },
  };
}

const stalled = (waited: string): AgentError =>
  new AgentError("pull.stalled", `nothing happened for ${waited}`);

/** Yields the chunks without Docker's frames. Leaving the iteration closes the stream. */
async function* unframed({ stream, watch }: OpenStream, unframe: Unframe): AsyncGenerator<Uint8Array> {
  using _ = watch;
  for await (const chunk of stream) {
    const piece = unframe(chunk);
    if (piece.length > 0) yield piece;
  }
}

/** Splits "registry.example.com:5000/app@sha256:…" for Docker's pull: without a tag it would pull all tags. */
function partsOf(image: string): { registry: string; fromImage: string; tag: string } {
  const reference = fullReference(image);
  const registry = reference.slice(0, reference.indexOf("/"));
  const at = reference.includes("@") ? reference.indexOf("@") : reference.lastIndexOf(":");
  return { registry, fromImage: reference.slice(0, at), tag: reference.slice(at + 1) };
}
